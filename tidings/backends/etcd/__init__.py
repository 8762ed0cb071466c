"""The ports for the state on which all servers must agree, on etcd."""
