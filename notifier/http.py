"""HTTP for all providers."""

from __future__ import annotations

import email.utils
import json
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from notifier.provider import Retry

# It logs every URL, and those of APNs and Web Push contain the device's token.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# What takes longer is ended by the dispatcher as well; this also bounds the wait for a free connection.
_TIMEOUT = httpx2.Timeout(10.0)
# Seconds. Apple asks that connections be kept; but one that the other side has closed is noticed only by a request that
# fails on it, and the shortest that services are known to keep one is a minute.
_LIMITS = httpx2.Limits(keepalive_expiry=30.0)
# An answer says in a few words what is wrong. No more than this is read of one.
_ANSWER_BYTES = 16 << 10
_BUSY = 429
_ERROR = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Mapping[str, Any]:
        """The object that it contains; an empty one when it contains none."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """The seconds that the provider asks to wait for."""
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None

    def trouble(self) -> Retry | None:
        """What the status says alone, where every provider means the same by it."""
        if self.status == _BUSY:
            return Retry("too_fast", self.retry_after)
        if self.status >= _ERROR:
            return Retry(f"http_{self.status}", self.retry_after, is_down=True)
        return None


class Http:
    """Connections to a provider: HTTP/2 where it speaks that, kept open, as many requests on one as it allows.

    Args:
        trust: The certificates to trust.
    """

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._client = httpx2.AsyncClient(http2=True, verify=trust, timeout=_TIMEOUT, limits=_LIMITS, trust_env=False)

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer | Retry:
        """Posts; a connection that fails is an outcome like another. Redirections are not followed."""
        try:
            async with self._client.stream("POST", url, headers=dict(headers), content=content) as response:
                received = bytearray()
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > _ANSWER_BYTES:
                        break
                return Answer(response.status_code, response.headers, bytes(received[:_ANSWER_BYTES]))
        except httpx2.TimeoutException:
            return Retry("timeout", is_down=True)
        except httpx2.ConnectError:
            return Retry("connect", is_down=True)
        except httpx2.TransportError:
            return Retry("connection", is_down=True)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
