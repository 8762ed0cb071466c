"""The step of migration 7 that CQL cannot do: it marks the messages that have not been deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import SimpleStatement

from tidings.backends.cassandra.buckets import bucket_of
from tidings.core.values import EntryKind

_MESSAGES = f"SELECT channel_id, bucket, seq FROM log WHERE kind = {EntryKind.MESSAGE:d} ALLOW FILTERING"
_DELETIONS = f"SELECT channel_id, target_seq, seq FROM changes WHERE kind = {EntryKind.DELETION:d} ALLOW FILTERING"
_TARGET = "SELECT target_seq FROM log WHERE channel_id = ? AND bucket = ? AND seq = ?"
_LIVE = "UPDATE log SET live = ? WHERE channel_id = ? AND bucket = ? AND seq = ?"

# Rows between two renewals of the lock, and requests under way.
_PART = 500
_TOGETHER = 50


def mark_live(session: Session, renew: Callable[[], None]) -> None:
    """Mark all messages as live, then those that have been deleted as not: their deletion is in the log.

    Doing this twice does no harm.

    Args:
        session: A session of the driver on the keyspace; it blocks.
        renew: Renews the lock of the migrations.
    """
    target, live = session.prepare(_TARGET), session.prepare(_LIVE)
    for part in _parts(session, _MESSAGES):
        renew()
        _together(session, live, [(True, *each) for each in part])
    for part in _parts(session, _DELETIONS):
        renew()
        at = [(channel_id, bucket_of(seq), seq) for channel_id, _, seq in part]
        deletions = [rows.one() for rows in _together(session, target, at)]
        messages = [
            (False, channel_id, bucket_of(seq), seq)
            for (channel_id, seq, _), found in zip(part, deletions, strict=True)
            if found is not None and found[0] == seq
        ]
        _together(session, live, messages)


def _parts(session: Session, query: str) -> Iterator[Sequence[tuple[Any, ...]]]:
    rows: Iterator[tuple[Any, ...]] = iter(session.execute(SimpleStatement(query, fetch_size=_PART)))
    while part := list(islice(rows, _PART)):
        yield part


def _together(session: Session, statement: object, values: Iterable[Sequence[object]]) -> list[Any]:
    return [result for _, result in execute_concurrent_with_args(session, statement, values, concurrency=_TOGETHER)]
