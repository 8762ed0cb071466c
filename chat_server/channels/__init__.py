"""The channels: their rules, their order, their receipts, and whom a message wakes. Nothing here knows a session."""
