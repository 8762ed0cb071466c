"""A provider for development: a push is a line in the log."""

from __future__ import annotations

import logging

from notifier.notice import Notice
from notifier.provider import Outcome, Provider, Sent

_log = logging.getLogger(__name__)


class LogProvider(Provider):
    """Writes who would be woken for what. Neither the token nor the text: secrets and texts never reach a log."""

    async def send(self, token: str, notice: Notice) -> Outcome:
        """See `Provider.send`."""
        user_id, channel_id = notice.user_id, notice.channel_id
        if notice.silent:
            _log.info("silent push: user %s, channel %s, %d unread", user_id, channel_id, notice.unread)
        else:
            _log.info(
                "push: user %s, channel %s, message %d from user %s", user_id, channel_id, notice.seq, notice.sender_id
            )
        return Sent()

    async def close(self) -> None:
        """See `Provider.close`."""
