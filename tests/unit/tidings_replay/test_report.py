"""The figures of a replay, and that none of them hides a fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tidings.v1 import chat_pb2
from tidings_replay.cli import exit_code
from tidings_replay.record import RecordedEntry, entry_of, message_entry
from tidings_replay.report import Evidence, Said, count, disorder, percentile


def entry(seq: int, name: str = "", digest: bytes = b"") -> RecordedEntry:
    return RecordedEntry("c", seq, digest or f"{seq}{name}".encode(), name)


JOINED, FIRST, SECOND = entry(1), entry(2, "m1"), entry(3, "m2")
LOG = [JOINED, FIRST, SECOND]
SAID = [Said("m1", 2, device=0, wait=0.010), Said("m2", 3, device=1, wait=0.030)]


def evidence(
    *copies: Sequence[RecordedEntry], log: Sequence[RecordedEntry] = LOG, said: Sequence[Said] = SAID, messages: int = 2
) -> Evidence:
    return Evidence(
        messages=messages,
        said=said,
        log=log,
        screen=[each for each in log if each.name],
        copies=copies or [LOG, LOG, LOG],
        reconnects=4,
        seconds=1.5,
    )


def test_what_arrived_everywhere_is_flawless() -> None:
    figures = count(evidence())
    assert (figures.messages, figures.accepted, figures.devices) == (2, 2, 3)
    # Each message to the two devices that did not say it.
    assert (figures.expected_deliveries, figures.delivered) == (4, 4)
    assert (figures.lost, figures.duplicated, figures.out_of_order) == (0, 0, 0)
    assert (figures.converged, figures.reconnects, figures.seconds) == (True, 4, 1.5)
    assert (figures.accept_p50_ms, figures.accept_p99_ms) == (10.0, 30.0)
    assert figures.is_flawless
    assert exit_code(figures) == 0


def test_a_message_that_did_not_come_is_lost() -> None:
    figures = count(evidence(LOG, LOG, [JOINED, SECOND]))
    assert (figures.delivered, figures.lost, figures.converged) == (3, 1, False)


def test_a_message_that_its_own_sender_lacks_keeps_them_from_agreeing() -> None:
    figures = count(evidence([JOINED, SECOND], LOG, LOG))
    assert (figures.lost, figures.converged, figures.is_flawless) == (0, False, False)


def test_a_changed_message_is_lost() -> None:
    figures = count(evidence(LOG, LOG, [JOINED, entry(2, "m1", b"other"), SECOND]))
    assert (figures.lost, figures.duplicated, figures.converged) == (1, 0, False)


def test_an_accepted_message_that_the_log_lacks_is_lost_to_all() -> None:
    figures = count(evidence(LOG[:2], LOG[:2], LOG[:2], log=LOG[:2]))
    assert (figures.expected_deliveries, figures.lost, figures.converged) == (4, 2, False)


def test_a_number_given_to_two_messages_loses_one() -> None:
    figures = count(evidence(said=[SAID[0], replace(SAID[1], seq=2)]))
    assert (figures.lost, figures.converged) == (2, False)


def test_an_event_given_again_is_doubled() -> None:
    figures = count(evidence(LOG, LOG, [*LOG, FIRST]))
    assert (figures.duplicated, figures.out_of_order, figures.lost, figures.converged) == (1, 0, 0, False)


def test_a_message_that_the_log_has_again_is_doubled() -> None:
    log = [*LOG, entry(4, "m2")]
    figures = count(evidence(log, log, log, log=log))
    assert (figures.duplicated, figures.lost, figures.converged) == (1, 0, False)


def test_an_event_given_late_is_out_of_order() -> None:
    figures = count(evidence(LOG, LOG, [JOINED, SECOND, FIRST]))
    assert (figures.out_of_order, figures.duplicated, figures.lost, figures.converged) == (1, 0, 0, False)


def test_a_message_that_nobody_said_keeps_them_from_agreeing() -> None:
    log = [*LOG, entry(4, "stranger")]
    assert not count(evidence(log, log, log, log=log)).converged


def test_a_log_with_a_gap_keeps_them_from_agreeing() -> None:
    log = [JOINED, FIRST, entry(4, "m2")]
    said = [SAID[0], replace(SAID[1], seq=4)]
    assert not count(evidence(log, log, log, log=log, said=said)).converged


def test_lines_in_another_order_than_said_keep_them_from_agreeing() -> None:
    assert not count(evidence(said=[SAID[1], SAID[0]])).converged


def test_a_screen_that_differs_from_the_log_keeps_them_from_agreeing() -> None:
    assert not count(replace(evidence(), screen=[FIRST])).converged


def test_a_refused_line_is_no_flawless_replay() -> None:
    figures = count(evidence(messages=3))
    assert figures.converged
    assert not figures.is_flawless
    assert exit_code(figures) == 1


@pytest.mark.parametrize(
    "broken", [{"lost": 1}, {"duplicated": 1}, {"out_of_order": 1}, {"converged": False}, {"accepted": 1}]
)
def test_any_broken_figure_makes_the_exit_code_1(broken: dict[str, int]) -> None:
    # mypy cannot see which field each value is for.
    assert exit_code(replace(count(evidence()), **broken)) == 1  # type: ignore[arg-type]


def test_nothing_said_is_counted_too() -> None:
    figures = count(evidence(LOG[:1], LOG[:1], log=LOG[:1], said=[], messages=0))
    assert (figures.expected_deliveries, figures.accept_p50_ms, figures.is_flawless) == (0, 0.0, True)


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [([], (0, 0)), ([1, 2, 3], (0, 0)), ([1, 3, 2, 4], (0, 1)), ([1, 1, 2, 1], (2, 0)), ([3, 2, 1, 1], (1, 2))],
)
def test_repeats_and_late_comers_are_told_apart(seqs: list[int], expected: tuple[int, int]) -> None:
    assert disorder([entry(seq) for seq in seqs]) == expected


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == expected


def test_every_field_of_an_event_counts() -> None:
    message = chat_pb2.Message(channel_id="c", seq=2, position=9, sender_id="u", client_message_id="m1", text="hi")
    made = entry_of(chat_pb2.Event(position=9, message=message))
    assert made == message_entry(message)
    assert made is not None
    assert (made.channel_id, made.seq, made.name) == ("c", 2, "m1")
    for changed in ({"text": "ho"}, {"sender_id": "v"}, {"position": 10}, {"reply_to_seq": 1}, {"deleted": True}):
        other = chat_pb2.Message()
        other.CopyFrom(message)
        other.MergeFrom(chat_pb2.Message(**changed))
        assert message_entry(other) != made


def test_what_is_in_no_log_is_not_written_down() -> None:
    assert entry_of(chat_pb2.Event(typing=chat_pb2.Typing(channel_id="c", user_id="u"))) is None
    assert entry_of(chat_pb2.Event(receipt=chat_pb2.Receipt(channel_id="c"))) is None
    assert entry_of(chat_pb2.Event()) is None
