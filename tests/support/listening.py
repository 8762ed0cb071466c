"""Doubles for what a sequencer tells, and for where outcomes go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chat_server.channels.listener import SequencerListener
from tidings.core.requests import Outcome


class Listening(SequencerListener):
    """A listener made of functions, by the names of its methods; the others do nothing."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        for name, method in methods.items():
            assert hasattr(SequencerListener, name)
            setattr(self, name, method)


class ReplyTo:
    """Gives an outcome to a function."""

    in_log_order = False

    def __init__(self, take: Callable[[Outcome], object]) -> None:
        self._take = take

    def reply(self, outcome: Outcome) -> None:
        self._take(outcome)
