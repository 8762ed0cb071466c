"""A provider for development: a push is a line in the log."""

from __future__ import annotations

import logging

from notifier.provider import Outcome, Provider, Sent
from tidings.core.values import PushRequest

_log = logging.getLogger(__name__)


class LogProvider(Provider):
    """Writes who would be woken for what. Neither the token nor the text: secrets and texts never reach a log."""

    async def send(self, token: str, request: PushRequest) -> Outcome:
        """See `Provider.send`."""
        _log.info(
            "push: user %s, channel %s, message %d from user %s",
            request.user_id,
            request.channel_id,
            request.seq,
            request.sender_id,
        )
        return Sent()

    async def close(self) -> None:
        """See `Provider.close`."""
