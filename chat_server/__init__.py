"""The chat server: devices' streams, and the channels that it owns."""
