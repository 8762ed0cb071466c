"""The composition: which services on which engines in this process, and the `tidings` command."""
