"""A real channel log, said again by many devices: `tidings replay`."""
