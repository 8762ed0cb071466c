"""Names for messages."""

from __future__ import annotations

import secrets
import time


def new_client_message_id() -> str:
    """A fresh name for a message or an edit: 32 hex digits, of the time in milliseconds and 80 random bits.

    Named in the order of time, as by a UUID of version 7, what a server keeps to know a resend by grows at its end. Of
    names at random each is in a page of its own: with 500,000 messages stored a message costs a server's log a third
    more.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
