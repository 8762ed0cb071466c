"""tidings, a chat backend on gRPC streams."""
