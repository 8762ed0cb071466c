"""The chat server: the streams of devices, and the channels that this server sequences."""
