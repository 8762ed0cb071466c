"""Why a replay cannot go on."""

from __future__ import annotations


class ReplayError(Exception):
    """One sentence for the person who asked for the replay."""
