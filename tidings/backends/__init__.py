"""Engines: each implements ports of tidings.core.ports once."""
