"""The notifier: pushes to people who are away, from a durable queue."""
