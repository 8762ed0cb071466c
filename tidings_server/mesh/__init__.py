"""The mesh backend: Cassandra, Redis and etcd, and other servers that offer the same services or others."""
