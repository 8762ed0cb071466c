"""The error of a replay."""

from __future__ import annotations


class ReplayError(Exception):
    """A replay cannot go on; the message is one sentence for the user."""
