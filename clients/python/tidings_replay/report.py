"""The result of a replay, counted from the accepted lines, the channel's log and what each device recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidings_replay.record import RecordedEntry


@dataclass(frozen=True, slots=True)
class Said:
    """A line that was accepted."""

    name: str
    """Its client_message_id."""
    seq: int
    """The seq that it was accepted with."""
    device: int
    """The device that said it."""
    wait: float
    """Seconds from handing it over to the result; the connection may have been lost and opened again in between."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the figures are counted from."""

    messages: int
    """The number of lines to say."""
    said: Sequence[Said]
    """The lines that were accepted, in the order in which they were said."""
    log: Sequence[RecordedEntry]
    """The channel as ListEvents gives it."""
    screen: Sequence[RecordedEntry]
    """Its messages as ListMessages gives them."""
    copies: Sequence[Sequence[RecordedEntry]]
    """The entries that each device recorded, in the order in which they came."""
    reconnects: int
    """How often a device was live again after it had lost its stream."""
    seconds: float
    """Seconds from the first line until every device had all of them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a replay."""

    messages: int
    """The number of lines to say."""
    accepted: int
    """The number of lines that the server accepted."""
    devices: int
    """The number of devices."""
    expected_deliveries: int
    """Deliveries of each accepted message to every device but the one that said it."""
    delivered: int
    """Expected deliveries that arrived unchanged."""
    lost: int
    """Expected deliveries that did not arrive."""
    duplicated: int
    """Events that a device was given twice, and messages that are twice in the log."""
    out_of_order: int
    """Events that a device was given after a later one."""
    reconnects: int
    """How often a device was live again after it had lost its stream."""
    converged: bool
    """Whether the log is what was said, in that order, and every device has exactly the log, in its order."""
    seconds: float
    """Seconds from the first line until every device had all of them."""
    accept_p50_ms: float
    """The time within which half of the lines were accepted."""
    accept_p99_ms: float
    """The time within which 99 of a hundred lines were accepted."""

    @property
    def is_flawless(self) -> bool:
        """Whether every promise was kept."""
        return (
            self.accepted == self.messages
            and not (self.lost or self.duplicated or self.out_of_order)
            and self.converged
        )


def count(evidence: Evidence) -> Figures:
    """Counts the figures.

    Args:
        evidence: What they are counted from.
    """
    log = {entry.seq: entry for entry in evidence.log}
    names = [entry.name for entry in evidence.log if entry.name]
    duplicated = len(names) - len(set(names))
    out_of_order = delivered = 0
    for device, copy in enumerate(evidence.copies):
        repeats, late = disorder(copy)
        duplicated += repeats
        out_of_order += late
        delivered += _arrived(device, copy, evidence.said, log)
    expected = len(evidence.said) * (len(evidence.copies) - 1)
    waits = sorted(said.wait for said in evidence.said)
    return Figures(
        messages=evidence.messages,
        accepted=len(evidence.said),
        devices=len(evidence.copies),
        expected_deliveries=expected,
        delivered=delivered,
        lost=expected - delivered,
        duplicated=duplicated,
        out_of_order=out_of_order,
        reconnects=evidence.reconnects,
        converged=_is_converged(evidence),
        seconds=round(evidence.seconds, 3),
        accept_p50_ms=round(percentile(waits, 50) * 1000, 2),
        accept_p99_ms=round(percentile(waits, 99) * 1000, 2),
    )


def disorder(copy: Sequence[RecordedEntry]) -> tuple[int, int]:
    """Counts the events of a copy that came twice, and the others that came after a later one."""
    seen: set[int] = set()
    highest = repeats = late = 0
    for entry in copy:
        if entry.seq in seen:
            repeats += 1
        elif entry.seq < highest:
            late += 1
        seen.add(entry.seq)
        highest = max(highest, entry.seq)
    return repeats, late


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Gives the smallest value that so many percent of all values do not exceed; 0 when there are none.

    Args:
        ordered: The values, the smallest first.
        percent: Above 0, up to 100.
    """
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def _arrived(device: int, copy: Sequence[RecordedEntry], said: Sequence[Said], log: dict[int, RecordedEntry]) -> int:
    """Counts the messages of other devices that a device has as the log has them."""
    have = set(copy)
    return sum(
        (entry := log.get(each.seq)) is not None and entry.name == each.name and entry in have
        for each in said
        if each.device != device
    )


def _is_converged(evidence: Evidence) -> bool:
    log = list(evidence.log)
    messages = [entry for entry in log if entry.name]
    return (
        [entry.seq for entry in log] == list(range(1, len(log) + 1))
        and [(entry.seq, entry.name) for entry in messages] == [(said.seq, said.name) for said in evidence.said]
        and messages == list(evidence.screen)
        and all(list(copy) == log for copy in evidence.copies)
    )
