"""Who speaks in a replay, on which devices, and which of those drop out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tidings_replay.casting import ScriptLine, cast, roles
from tidings_replay.churn import Churn, DropKind
from tidings_replay.irc import IrcLine
from tidings_replay.signing import username


def lines(nicks: str) -> list[IrcLine]:
    return [IrcLine(nick, f"{nick}{number}") for number, nick in enumerate(nicks)]


def test_everybody_speaks_when_there_is_room() -> None:
    made = cast(lines("aba"), most_speakers=2)
    assert made.speakers == ["a", "b"]
    assert made.script == [ScriptLine(0, "a0"), ScriptLine(1, "b1"), ScriptLine(0, "a2")]
    assert (made.left_out_speakers, made.left_out_lines) == (0, 0)


def test_those_with_most_lines_speak_when_there_is_not() -> None:
    made = cast(lines("abbcccd"), most_speakers=2)
    assert made.speakers == ["b", "c"]
    assert [part.text for part in made.script] == ["b1", "b2", "c3", "c4", "c5"]
    assert (made.left_out_speakers, made.left_out_lines) == (2, 2)


def test_among_equals_those_speak_who_spoke_first() -> None:
    made = cast(lines("cbac"), most_speakers=2)
    assert made.speakers == ["c", "b"]


def test_a_group_of_a_hundred_is_filled() -> None:
    made = cast([IrcLine(f"nick{number}", "hi") for number in range(179)])
    assert (len(made.speakers), made.left_out_speakers, made.left_out_lines) == (100, 79, 79)


@pytest.mark.parametrize("speakers", [1, 2, 11, 83, 100])
def test_half_have_a_second_device_and_one_in_five_devices_drops_out(speakers: int) -> None:
    parts = roles(speakers)
    owned = Counter(role.speaker for role in parts)
    assert sorted(owned) == list(range(speakers))
    assert sorted(owned.values()).count(2) == speakers // 2
    assert sum(role.is_second for role in parts) == speakers // 2
    dropping = sum(role.drops_out for role in parts)
    assert len(parts) // 5 <= dropping <= len(parts) // 5 + 1
    assert not parts[0].drops_out


def test_devices_of_every_sort_drop_out() -> None:
    parts = roles(100)
    owned = Counter(role.speaker for role in parts)
    assert {(owned[role.speaker], role.is_second) for role in parts if role.drops_out} == {
        (1, False),
        (2, False),
        (2, True),
    }


def test_a_device_drops_out_again_and_again_in_every_way() -> None:
    churn = Churn(random.Random(7))
    ways = [way for _ in range(1000) if (way := churn.sees()) is not None]
    assert 10 <= len(ways) <= 51
    assert set(ways) == set(DropKind)


def test_a_device_drops_out_while_it_says_something() -> None:
    churn = Churn(random.Random(7))
    breaks = [each for _ in range(300) if (each := churn.says()) is not None]
    assert 50 < len(breaks) < 150
    assert {way for way, _ in breaks} == set(DropKind)


@pytest.mark.parametrize("nick", ["Shawn|i7-720QM", "_root_", "日本", "a" * 64, "^", "x"])
def test_a_username_is_one_that_servers_take_and_nobody_has(nick: str) -> None:
    name = username(nick)
    assert 3 <= len(name) <= 32
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert name[0].isalnum()
    assert username(nick) != name
