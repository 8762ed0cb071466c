"""The ports on Cassandra, for many servers at once."""
