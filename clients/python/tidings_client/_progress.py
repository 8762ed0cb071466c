"""How far a device has come: what it starts from when it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """A position in the inbox and a seq in every channel."""

    cursor: int = 0
    """The highest position that came; 0 for none."""
    seqs: dict[str, int] = field(default_factory=dict)
    """The last seq that came, by channel."""


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """What has changed since the progress was saved."""

    cursor: int
    seqs: Mapping[str, int]
    """The channels that moved, or all there are."""
    anew: bool
    """Whether `seqs` is all there is, and any other channel is to be forgotten."""
