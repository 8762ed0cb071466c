"""The ports for what the servers must agree on, on etcd."""
