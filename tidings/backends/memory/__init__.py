"""The ports for soft state in the memory of one process."""
