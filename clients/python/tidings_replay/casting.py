"""The cast of a replay: who speaks, who says which line, and on which devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tidings_replay.irc import IrcLine

MOST_SPEAKERS = 100
"""The most members that a group may have."""


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
    """The speakers' nicks, in the order of their first lines."""
    script: Sequence[ScriptLine]
    """The lines, in order."""
    left_out_speakers: int
    """The number of people that the group has no room for."""
    left_out_lines: int
    """The number of their lines."""


@dataclass(frozen=True, slots=True)
class DeviceRole:
    """The part of one device in the replay."""

    speaker: int
    """Index in the cast's speakers."""
    is_second: bool
    """Whether it is the speaker's second device."""
    drops_out: bool
    """Whether it loses its connection again and again."""


def cast(lines: Sequence[IrcLine], most_speakers: int = MOST_SPEAKERS) -> Cast:
    """Chooses the people with the most lines; of equals, those who spoke first.

    Args:
        lines: The log.
        most_speakers: The most people who may speak.
    """
    counts = Counter(line.nick for line in lines)
    # A Counter keeps the order of first appearance, and most_common keeps it among equals.
    chosen = {nick for nick, _ in counts.most_common(most_speakers)}
    speakers = [nick for nick in counts if nick in chosen]
    number = {nick: index for index, nick in enumerate(speakers)}
    script = [ScriptLine(number[line.nick], line.text) for line in lines if line.nick in chosen]
    return Cast(speakers, script, len(counts) - len(speakers), len(lines) - len(script))


def roles(speakers: int) -> list[DeviceRole]:
    """Plans the devices: every other speaker has a second one, and every fifth device drops out.

    Args:
        speakers: The number of speakers.
    """
    owned = [(speaker, is_second) for speaker in range(speakers) for is_second in (False, True)[: 1 + speaker % 2]]
    # Counted from 2, so that the devices that drop out are first, second and only ones in turn, the very first never.
    return [DeviceRole(speaker, is_second, index % 5 == 2) for index, (speaker, is_second) in enumerate(owned)]
