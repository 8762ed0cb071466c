"""What commands do."""

from __future__ import annotations

from tidings_chat.commands import SPECS
from tidings_chat.screens.command_runner import CommandRunner


def test_every_command_is_done_by_somebody() -> None:
    assert [spec.word for spec in SPECS if not hasattr(CommandRunner, f"_do_{spec.word}")] == []
