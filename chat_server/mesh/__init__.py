"""A chat server among others: channels that another one sequences, and sessions that another one holds."""
