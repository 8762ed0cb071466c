"""Slash commands."""

from __future__ import annotations

import pytest

from tidings_chat.commands import CommandError, SlashCommand, complete, parse


def test_commands_are_told_from_texts() -> None:
    assert parse("hello / there") == "hello / there"
    assert parse("//tmp is full") == "/tmp is full"
    assert parse("/Title  A new one ") == SlashCommand("title", "A new one")
    assert parse("/add @Ben, cid") == SlashCommand("add", "@Ben, cid")
    assert SlashCommand("add", "@Ben, cid").names == ["ben", "cid"]


def test_a_mistyped_command_is_not_sent_as_a_text() -> None:
    with pytest.raises(CommandError, match="did you mean /leave"):
        parse("/laeve")
    with pytest.raises(CommandError, match="/help lists"):
        parse("/usr/bin is full")


def test_a_half_typed_command_is_completed_when_it_is_clear() -> None:
    assert complete("/ti") == "/title "
    assert complete("/re") == "/re"
    assert complete("ti") == "ti"
