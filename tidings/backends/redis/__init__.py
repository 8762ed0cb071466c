"""The ports for soft state on Redis, and the push queue on a durable one."""
