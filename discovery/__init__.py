"""Discovery: which servers there are, and which of them to use."""
