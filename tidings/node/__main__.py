"""`python -m tidings.node` is the `tidings` command."""

from tidings.node.cli import main

main()
