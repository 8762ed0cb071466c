"""The reasons of refusals as names, so that a mistyped one fails where it is written."""

from __future__ import annotations

import enum

from tidings.v1 import errors_pb2

_PREFIX = "ERROR_REASON_"


class ClientReason(enum.StrEnum):
    """The reasons of refusals by this library itself; those of the servers are in `tidings.v1.ErrorReason`."""

    CONNECTION_CLOSED = "CONNECTION_CLOSED"
    """The connection was closed, or failed, before the command had a result."""
    STATE_IN_USE = "STATE_IN_USE"
    """Another process has the device's file open."""
    STATE_UNREADABLE = "STATE_UNREADABLE"
    """The device's file cannot be used."""


def reason_word(reason: errors_pb2.ErrorReason) -> str:
    """Gives the word that `TidingsError.reason` has for a reason of the contract: ``BLOCKED``, say."""
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)
