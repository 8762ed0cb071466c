"""A terminal client: `tidings chat`."""
