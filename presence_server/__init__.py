"""The presence server: who is online."""
