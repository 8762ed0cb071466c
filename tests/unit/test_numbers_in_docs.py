"""The numbers that docs/ states are those of the code.

Each sentence below stands in its page, word for word but for line breaks, with its numbers taken from the code. So a
page and the code cannot come apart: when a number changes, this fails until the page says the new one. Who writes a
number of the code into a page adds the sentence here; figures that were measured stay out of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_server import passwords
from chat_server import server as chat
from chat_server import service as converse
from chat_server.channels import local, push_decider, receipts, sequencer
from chat_server.mesh import fanout, routed, routes
from chat_server.sessions import ack_tracker, writer
from discovery import recommender
from notifier.breaker import BreakerPolicy
from notifier.dispatcher import DispatchLimits
from notifier.retry import RetryPolicy
from presence_server import service as presence
from presence_server import tracker
from tidings.backends.cassandra import buckets, driver, inbox, log_tail, pending_push
from tidings.backends.etcd import registry
from tidings.backends.redis import shards
from tidings.backends.sqlite import database
from tidings.backends.sqlite import inbox as sqlite_inbox
from tidings.core import limits, positions
from tidings.core.limits import SessionLimits
from tidings.core.rate import Rate
from tidings.mesh import peer_link, peer_outbox, router
from tidings.rpc import admission, answers, tasks
from tidings.rpc import server as rpc_server
from tidings_client import _presence as heartbeats
from tidings_server import certificates
from tidings_server.mesh import services, sign_outs
from tidings_server.settings import PasswordSettings, PushSection, RateSettings, Settings

_DOCS = Path(__file__).parents[2] / "docs"


def _default(function: Callable[..., Any], argument: str) -> Any:
    return inspect.signature(function).parameters[argument].default


def _kib(value: int) -> str:
    assert value % 1024 == 0
    return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"


def _rate(rate: RateSettings | Rate) -> str:
    return f"{rate.per_second:g} a second, {rate.burst:,.0f} at once"


def _a_day(rate: RateSettings) -> str:
    return f"{rate.burst:,.0f} at once, then some {round(rate.per_second * 86_400, -2):,.0f} a day"


# What a sentence says in a word. A number without one is written in figures.
_TIMES = {1.0: "second", 60.0: "minute"}
_PARTS = {5.0: "fifth", 10.0: "tenth"}
_WORDS = {2: "two", 5: "five"}

_SETTINGS = Settings.model_construct()
_RATE = Rate(1, 1)
_SESSION = SessionLimits()
_RETRY = RetryPolicy(draw=lambda: 0.5)
_TRIED_SECONDS = sum(_RETRY.delay(failures) or 0.0 for failures in range(1, _RETRY.attempts))
_TRIED = f"{_RETRY.attempts} times, over about {round(_TRIED_SECONDS / 60, -1):g} minutes"
_BREAKER = BreakerPolicy()
_DISPATCH = DispatchLimits()
_INTERNAL: dict[str, int] = dict(certificates._INTERNAL_OPTIONS)

_LEASE = f"{registry.LEASE_SECONDS} s"
_OVERLAP = f"{inbox.OVERLAP_MS // 1000} s"
_AHEAD = f"{inbox.AHEAD_MS // 1000} s"
_OFFLINE = f"{tracker.OFFLINE_AFTER_MS // 1000} s"
_PUSH_DELAY = f"{_SETTINGS.push_delay_seconds:g} s"
_SIGN_OUTS = f"{sign_outs._LOOK_SECONDS:g} s"
_SETTLE = f"{_default(routes.TrustedRoutes, 'settle'):g} s"
_ROUTE = f"{services._ROUTE_SECONDS:g} s"
_BROADCAST = routes._MOST_BROADCAST
_REMEMBERED_HOURS = log_tail.REMEMBERED_MS // 3_600_000
_SENT = f"{log_tail.MOST_SENT:,}"
_WAITING = f"{_SESSION.waiting_events:,} events or {_kib(_SESSION.waiting_bytes)}"
_UNCONFIRMED = _kib(peer_outbox._MOST_BYTES)
_CHUNK = f"{sqlite_inbox._CHUNK_EVENTS:,} events or {_kib(sqlite_inbox._CHUNK_BYTES)}"

_CALLS = admission.CallLimits(_RATE, _RATE)


def _costing(tokens: int) -> set[str]:
    return {method.rpartition("/")[2] for method, cost in admission.COSTS.items() if cost == tokens}


_STATED = {
    "guarantees.md": [
        f"**Clocks of servers within {_AHEAD.removesuffix(' s')} seconds of each other.**",
        f"A replay goes {_OVERLAP} behind the cursor and {_AHEAD} beyond the present;",
        # What is more than a day is for clocks that differ.
        f"This is good for at least {_REMEMBERED_HOURS - 1} hours",
        f"in a channel with more than {_SENT} messages in a day, those before the latest {_SENT} would be taken",
        f"what lies up to {_OVERLAP} before the cursor comes again with every replay",
        f"they come within about {max(receipts._REST_SECONDS, limits.GROUP_MEMBERS * receipts._SECONDS_A_MEMBER):g} s.",
        f"channels have no sequencer until its lease in etcd has run out, {_LEASE};",
        f"When a message has waited {_PUSH_DELAY} (`push_delay_seconds`)",
        f"In a busy channel the delay may be a {_PARTS[push_decider._STEPS]} longer.",
        f"A push that fails {_TRIED}, becomes a dead letter",
        f"a push is kept for {_DISPATCH.outage / 3600:g} hours.",
        f"has sent a heartbeat within the last {_OFFLINE},",
        f"its users are offline {_OFFLINE} after their last heartbeat",
        f"which clients send every {heartbeats._HEARTBEAT_SECONDS:g} s; streams that are open are told "
        f"{tracker.REFRESH_AFTER_SECONDS:g} s later",
        f"in the {_TIMES[tracker._TICK_SECONDS]} between taking a silent user out of Redis and telling their contacts",
        f"and up to {_OVERLAP} beyond it are taken: clocks differ.",
        f"older than {_SETTINGS.inbox_days} days (`inbox_days`)",
        f"What waits for one stream is bounded: {_WAITING}.",
        f"with {_SESSION.commands_in_flight} commands without a result is not read from",
        f"reads its links too slowly, {_UNCONFIRMED} behind,",
        f"the others hear of it by Redis, and ask Cassandra every {_SIGN_OUTS} besides",
        f"A {_TIMES[chat._TOKEN_WARNING]} before a session's access token runs out",
        f"its routes are forgotten after {_ROUTE}:",
        f"- **More than {_BROADCAST + 1} chat servers**: while Redis is away, and {_SETTLE} longer,",
        f"told to the sequencer of the channel for {router._REFRESH_ATTEMPTS * router._RETRY_SECONDS:g} s;",
    ],
    "operations.md": [
        f"what writes waits, and after {database._LOCKED_SECONDS:g} s fails with UNAVAILABLE",
        f"{PasswordSettings().memory_kib >> 10} MiB for each log-in under way",
        f"{_SETTINGS.capacity:,}; and the channels that it has loaded",
        f"and costs clients a reconnect and up to {_LEASE} until the lease is over",
        f"a user whose server goes does not flicker if back within {_OFFLINE}.",
        f"A {_PARTS[1 / recommender._SHARED_BY]} of the fleet shares the clients that move",
        f"Devices renew their tokens before {_SETTINGS.access_token_seconds / 60:g} minutes are over",
        f"it leaves discovery within {_LEASE};",
        f"its users offline after {_OFFLINE}, unless they are back sooner",
        f"messages are live while there are at most {_BROADCAST + 1} chat servers",
        f'more than {_OVERLAP} make cursors "from the future"',
    ],
    "push.md": [
        f"of the {limits.CHANNELS_PAGE} that were active last",
        f"the first {limits.PUSH_PREVIEW_CHARACTERS} characters",
        f"| `push.ttl_seconds` | `{PushSection().ttl_seconds}` |",
        f"| `push.concurrency` | `{PushSection().concurrency}` |",
        f"{_WORDS[_BREAKER.failures]} times in a row) is left alone",
        f"after {_BREAKER.first:g} s first and every {_BREAKER.longest:g} s at most",
        f"is tried {_TRIED}; while its provider is down, for {_DISPATCH.outage / 3600:g} hours.",
        f"is due again after {_DISPATCH.lease:g} s,",
        f"which it does every {_BREAKER.longest:g} s at the least",
    ],
    "architecture/README.md": [
        f"etcd, under leases of {_LEASE}",
        f"not acknowledged in {_PUSH_DELAY}",
    ],
    "architecture/message.md": [
        f"up to {_SESSION.commands_in_flight} commands of a session may be in flight",
        f"up to {sequencer._BATCH} actions or {sequencer._BATCH_CHARACTERS >> 10} Ki characters",
        f"make the sequencer load again and try again, at most {sequencer._ATTEMPTS} times",
        f"{writer.A_WRITER * 1e6:g} us for each stream that is written to",
        f"begin {database._APART_SECONDS * 1000:g} ms apart (`tidings/backends/sqlite/database.py`)",
        f"(`chat_server/sessions/outbox.py`: {_WAITING})",
        f"remembers at most {ack_tracker._MARKS} marks (position, seq)",
        f"{receipts._SECONDS_A_MEMBER * 1000:g} ms for each member, looked at every {receipts.TICK:g} s, and at least "
        f"{receipts._REST_SECONDS:g} s since the last time",
    ],
    "architecture/mesh.md": [
        f"At most {peer_link._MOST_PENDING:,} requests wait for one sequencer",
        f"up to {inbox._REQUEST_PARTITIONS} users' go in one request",
        f"it is tried again every {fanout._RETRY_SECONDS:g} s,",
        f"At most {_UNCONFIRMED} may be unconfirmed for one server",
        f"and a retry in {routed._COME_BACK_SECONDS:g} s:",
        f"HTTP/2 pings every {_INTERNAL['grpc.keepalive_time_ms'] // 1000} s, with "
        f"{_INTERNAL['grpc.keepalive_timeout_ms'] // 1000} s to answer; a new stream after "
        f"{peer_link._AGAIN_SECONDS[0] * 1000:g} ms, then up to {peer_link._AGAIN_SECONDS[1]:g} s.",
        f"are forgotten ({_ROUTE}), refreshed every {routes._REFRESH_SECONDS:g} s",
        f"rendezvous hashing of {shards._SLOTS:,} slots",
        f"Every server reads it every {_TIMES[routes._LOOK_SECONDS]},",
        f"While it is new (for {_SETTLE}),",
        f"kept to {_BROADCAST} other servers",
        f"2 is gone (lease, {_LEASE})",
        f"pending marks, {pending_push._SHARDS} shards",
        f"at most the latest {local._AGAIN:,} or {_kib(limits.HISTORY_PAGE_BYTES)},",
    ],
    "architecture/storage.md": [
        f"Reads run in {_WORDS[database._READERS]} reading threads",
        f"channel, bucket of {buckets.BUCKET:,} seqs",
        f"younger than {_REMEMBERED_HOURS} hours)",
        f"one of {pending_push._SHARDS} shards",
        f"copies (up to {_kib(inbox._COPY_BYTES)}) or references",
        f"expires after {_SETTINGS.inbox_days + inbox._EXPIRES_LATER_DAYS} days",
        f"every server asks from a moment on, every {_SIGN_OUTS}",
        f"of the last {_REMEMBERED_HOURS} hours and at least the open bucket, at most {_SENT} of one channel",
        f"written more than {inbox._LATE_MS // 1000} s later",
        f"A replay begins {_OVERLAP} before the cursor and goes {_AHEAD} beyond its end",
        f"at most {driver.CassandraSettings().in_flight:,} requests under way",
    ],
    "architecture/clients.md": [
        f"`Hello` has to come within {converse._HELLO_SECONDS:g} s",
        f"chunks of at most {_CHUNK},",
        f"a cursor up to {_OVERLAP} beyond it is taken, and the replay's overlap of {_OVERLAP} brings what landed late",
        f"`inbox_days` ({_SETTINGS.inbox_days})",
        f"looks every {_TIMES[tracker._TICK_SECONDS]} for those that are over",
        f"told everything again {tracker.REFRESH_AFTER_SECONDS:g} s later",
        f"asked for every {_SIGN_OUTS} by every server besides",
    ],
    "limits.md": [
        f"`rates.calls`: {_rate(_SETTINGS.rates.calls)}",
        f"`rates.calls_by_address`: {_rate(_SETTINGS.rates.calls_by_address)}",
        f"| hashes that wait, from one address | {passwords.MOST_OF_ADDRESS} |",
        f"| hashes that wait | {passwords.MOST_WAITING:,} |",
        f"| how long one waits for its turn | {passwords.LONGEST_WAIT:g} s |",
        f"`rates.commands`: {_rate(_SETTINGS.rates.commands)}",
        f"| groups that a user owns | {limits.GROUPS_OWNED:,} |",
        f"| channels that a user is in | {limits.CHANNELS:,}; {limits.CHANNELS_BY_OTHERS:,} before others",
        f"| direct channels that a user opens | `rates.direct_channels`: {_a_day(_SETTINGS.rates.direct_channels)} |",
        f"| people whom a user adds to groups | `rates.added_members`: {_a_day(_SETTINGS.rates.added_members)} |",
        f"| a frame | {_kib(limits.FRAME_BYTES)}; it costs a command more for each {_kib(limits.BYTES_A_COMMAND)} |",
        f"| commands of a frame | {limits.FRAME_COMMANDS} |",
        f"| commands without a result | {_SESSION.commands_in_flight} |",
        f"| what waits for a stream | {_WAITING} |",
        f"| heartbeats of a user on `Track` | {_rate(presence.HEARTBEATS)} |",
        f"| work on one frame | {tasks.Turns().seconds * 1000:g} ms |",
        f"| calls that a user has open | {_CALLS.user_open} |",
        f"| streams that a user has open at one server | {_CALLS.user_streams} |",
        f"| calls, and streams, that an address has open | {_CALLS.address_open:,} |",
        f"| calls that all callers have open | {_CALLS.process_open:,} |",
        f"| calls and streams of one connection | {rpc_server.CONNECTION_STREAMS:,} |",
        f"| the request of a call | {_kib(limits.FRAME_BYTES)}, within {answers.REQUEST_SECONDS:g} s |",
        f"| the time to make an answer | {answers.HANDLING_SECONDS:g} s |",
        f"| the time to read an answer | {answers.WRITE_SECONDS:g} s; {answers.WRITE_SECONDS_WHEN_FULL:g} s while",
        f"| answers to one caller that are being made or not read | {_kib(answers.CALLER_BYTES)} |",
        f"| answers to all callers that are being made or not read | {_kib(answers.PROCESS_BYTES)} |",
    ],
    "glossary.md": [
        f"| bucket | {buckets.BUCKET:,} consecutive entries",
        f"a group of up to {limits.GROUP_MEMBERS}.",
    ],
    "scale.md": [
        f"{positions.MAX_WORKER_ID.bit_length()} bits for the server that gave it out: {positions.MAX_WORKER_ID:,}",
    ],
}


@pytest.mark.parametrize("page", _STATED)
def test_a_page_states_the_numbers_of_the_code(page: str) -> None:
    text = " ".join((_DOCS / page).read_text().split())
    assert [sentence for sentence in _STATED[page] if sentence not in text] == []


def test_one_chunk_is_the_same_on_every_engine() -> None:
    assert (inbox._CHUNK_EVENTS, inbox._CHUNK_BYTES) == (sqlite_inbox._CHUNK_EVENTS, sqlite_inbox._CHUNK_BYTES)


def test_the_costs_of_calls_are_stated() -> None:
    text = (_DOCS / "limits.md").read_text()
    stated = {
        int(tokens): set(re.findall(r"[A-Z]\w+", calls))
        for tokens, calls in re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    }
    assert stated == {cost: _costing(cost) for cost in admission.COSTS.values()}
