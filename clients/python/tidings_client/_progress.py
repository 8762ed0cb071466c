"""How far a device has read: what it continues from after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """A device's position in the user's inbox, and its seq in every channel."""

    cursor: int = 0
    """The highest position; 0 for none."""
    seqs: dict[str, int] = field(default_factory=dict)
    """The last seq, by channel."""


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """The change of a device's progress since it was last saved."""

    cursor: int
    seqs: Mapping[str, int]
    """The channels that moved; all channels when `anew`."""
    anew: bool
    """Whether `seqs` replaces what was saved: a channel that is not in it is forgotten."""
