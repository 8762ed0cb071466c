"""The sessions: one device each, what it is sent and what it has acknowledged."""
