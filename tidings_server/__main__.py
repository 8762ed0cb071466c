"""`python -m tidings_server` is the `tidings` command."""

from tidings_server.cli import main

main()
