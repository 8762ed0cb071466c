"""Who speaks, who says which line, and on which devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidings_replay.irc import IrcLine

MOST_SPEAKERS = 100
"""As many members as a group may have."""


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One line of the script."""

    speaker: int
    """Index in the cast's speakers."""
    text: str


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversation that one group can hold."""

    speakers: Sequence[str]
    """Their nicks, in the order of their first lines."""
    script: Sequence[ScriptLine]
    """What they say, in order."""
    left_out_speakers: int
    """How many people there was no room for."""
    left_out_lines: int
    """What those would have said."""


@dataclass(frozen=True, slots=True)
class DeviceRole:
    """One device."""

    speaker: int
    """Index in the cast's speakers."""
    is_second: bool
    """Whether it is its owner's second device."""
    drops_out: bool
    """Whether it loses its connection again and again."""


def cast(lines: Sequence[IrcLine], most_speakers: int = MOST_SPEAKERS) -> Cast:
    """Gives the lines to those who have most of them; among equals, to who spoke first.

    Args:
        lines: The log.
        most_speakers: How many people may speak.
    """
    counts = Counter(line.nick for line in lines)
    # A Counter keeps the order of first appearance, and most_common keeps it among equals.
    chosen = {nick for nick, _ in counts.most_common(most_speakers)}
    speakers = [nick for nick in counts if nick in chosen]
    number = {nick: index for index, nick in enumerate(speakers)}
    script = [ScriptLine(number[line.nick], line.text) for line in lines if line.nick in chosen]
    return Cast(speakers, script, len(counts) - len(speakers), len(lines) - len(script))


def roles(speakers: int) -> list[DeviceRole]:
    """The devices: every other speaker has a second one, every fifth of all devices drops out.

    Args:
        speakers: How many people there are.
    """
    owned = [(speaker, is_second) for speaker in range(speakers) for is_second in (False, True)[: 1 + speaker % 2]]
    # Counted from 2, so that the devices that drop out are first, second and only ones in turn, the very first never.
    return [DeviceRole(speaker, is_second, index % 5 == 2) for index, (speaker, is_second) in enumerate(owned)]
