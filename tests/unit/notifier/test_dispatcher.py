"""How pushes leave the queue: a scripted provider, a clock that stands still, the real queue."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from notifier.breaker import BreakerPolicy
from notifier.dispatcher import Dispatcher, DispatchLimits
from notifier.log_provider import LogProvider
from notifier.metrics import PushMetrics
from notifier.notice import Notice
from notifier.provider import Failed, Gone, Outcome, Provider, Retry, Sent
from notifier.retry import RetryPolicy
from notifier.service import PushQueueService
from notifier.sink import QueueSink
from tests.support.clock import FakeClock
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.backends.sqlite.push_tokens import SqlitePushTokenStore
from tidings.core.clock import SystemClock
from tidings.core.errors import Code, Refusal, unavailable
from tidings.core.ports import PushQueueDepth, QueuedPush
from tidings.core.rate import Rate
from tidings.core.reasons import Reason
from tidings.core.values import PushPreview, PushProvider, PushRead, PushRequest, PushToken
from tidings.internal.v1 import push_queue_pb2

FCM, APNS, LOG = PushProvider.FCM, PushProvider.APNS, PushProvider.LOG
TEXT = "the words of a message"

Answer = Outcome | Exception | asyncio.Event


class Script(Provider):
    """Answers as told, then with Sent; an event as an answer is waited for first."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, int]] = []
        self.notices: list[Notice] = []
        self.most_at_once = 0
        self.on_send: Callable[[], None] = lambda: None
        self.closed = False
        self._at_once = 0

    async def send(self, token: str, notice: Notice) -> Outcome:
        self.sent.append((token, notice.seq))
        self.notices.append(notice)
        self.on_send()
        answer = self.answers.pop(0) if self.answers else Sent()
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                return Sent()
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self._at_once -= 1

    async def close(self) -> None:
        self.closed = True


@dataclass
class World:
    database: Database
    clock: FakeClock
    queue: SqlitePushQueue
    tokens: SqlitePushTokenStore
    providers: dict[PushProvider, Provider] = field(default_factory=dict)
    limits: DispatchLimits = field(default_factory=DispatchLimits)
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=5, draw=lambda: 0.0))
    rates: dict[PushProvider, Rate] = field(default_factory=dict)
    unwanted: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> None:
        """What a process has in memory: building again is what a restart does."""
        self.dispatcher = Dispatcher(
            self.queue, self.tokens, self.providers, self.compose, self.clock, self.limits, self.retry, self.rates
        )
        self.sink = QueueSink(self.queue, self.tokens, self.dispatcher, self.clock)

    async def compose(self, request: PushRequest, preview: PushPreview, counts_all: bool) -> Notice | None:
        if (request.user_id, request.channel_id) in self.unwanted:
            return None
        ids = request.user_id, request.channel_id, request.seq, request.sender_id
        return Notice(*ids, "", request.preview, 1, 2 if counts_all else None, request.created_at_ms)

    def use(self, kind: PushProvider, *answers: Answer) -> Script:
        script = Script(*answers)
        self.providers[kind] = script
        self.build()
        return script

    async def dispatch(self, after: float = 0.0) -> None:
        self.clock.advance(after)
        await self.dispatcher.start_due()
        await self.dispatcher.drain()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(tmp_path)
    world = World(database, FakeClock(), SqlitePushQueue(database), SqlitePushTokenStore(database))
    await world.tokens.set(PushToken("v1", "u1", FCM, "token-1"))
    yield world
    await world.dispatcher.drain()
    await database.close()


def request(seq: int = 7, channel: str = "g1", user: str = "u1") -> PushRequest:
    return PushRequest(user, channel, seq, "u9", TEXT, 1_749_999_995_000)


EMPTY = PushQueueDepth(0, 0, 0)


# --- one push ---------------------------------------------------------------------------------------------------------


async def test_a_request_goes_to_each_device_of_the_person(world: World) -> None:
    fcm, apns = world.use(FCM), world.use(APNS)
    await world.tokens.set(PushToken("v2", "u1", APNS, "token-2"))
    await world.tokens.set(PushToken("v3", "u2", APNS, "token-3"))
    await world.sink.enqueue([request()])
    await world.dispatch()
    assert (fcm.sent, apns.sent) == ([("token-1", 7)], [("token-2", 7)])
    assert await world.queue.depth() == EMPTY


async def test_the_sink_answers_once_the_requests_are_kept_and_sends_nothing_itself(world: World) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request(), request(channel="g2")])
    assert (await world.queue.depth()).waiting == 2
    assert fcm.sent == []


async def test_a_device_that_fails_does_not_make_the_others_hear_twice(world: World) -> None:
    fcm, apns = world.use(FCM, Retry("busy"), Retry("busy")), world.use(APNS)
    await world.tokens.set(PushToken("v2", "u1", APNS, "token-2"))
    await world.sink.enqueue([request()])
    for _ in range(4):
        await world.dispatch(after=60)
    assert (fcm.sent, apns.sent) == ([("token-1", 7)] * 3, [("token-2", 7)])
    assert await world.queue.depth() == EMPTY


async def test_a_later_message_replaces_the_waiting_one_of_its_channel_only(world: World) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request(7), request(3, channel="g2")])
    await world.sink.enqueue([request(8), request(9)])
    await world.dispatch()
    assert sorted(fcm.sent) == [("token-1", 3), ("token-1", 9)]


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_delays_double_up_to_the_longest_until_the_push_is_a_dead_letter(world: World) -> None:
    world.retry = RetryPolicy(attempts=5, first=2.0, longest=8.0, draw=lambda: 1.0)
    fcm = world.use(FCM, *[Retry("busy")] * 5)
    await world.sink.enqueue([request()])
    await world.dispatch()
    for attempts, delay in enumerate([2.0, 4.0, 8.0, 8.0], start=1):
        await world.dispatch(after=delay - 0.001)
        assert len(fcm.sent) == attempts, "too early"
        await world.dispatch(after=0.001)
        assert len(fcm.sent) == attempts + 1
    (dead,) = await world.queue.dead_letters(10)
    assert (dead.attempts, dead.error, dead.push.request) == (5, "busy", request())
    assert (await world.queue.depth()).waiting == 0


@pytest.mark.parametrize(("drawn", "delays"), [(0.0, [1, 2, 4, 8]), (0.5, [1.5, 3, 6, 12]), (1.0, [2, 4, 8, 16])])
def test_half_of_a_delay_is_drawn(drawn: float, delays: list[float]) -> None:
    policy = RetryPolicy(attempts=5, first=2.0, draw=lambda: drawn)
    assert [policy.delay(failures) for failures in range(1, 5)] == delays
    assert policy.delay(5) is None


def test_a_provider_that_asks_to_wait_is_obeyed_and_jitter_comes_on_top() -> None:
    assert RetryPolicy(draw=lambda: 0.0).delay(1, after=30.0) == 30.0
    assert RetryPolicy(draw=lambda: 1.0).delay(1, after=30.0) == 31.0
    assert RetryPolicy(draw=lambda: 0.0).delay(10, after=1.0) == 450.0, "no earlier than without being asked"
    assert RetryPolicy(draw=lambda: 0.0).delay(1, after=1e12) == 86_400.0
    assert RetryPolicy(attempts=3).delay(3, after=1.0) is None


def test_the_default_policy_outlasts_an_outage_of_an_hour() -> None:
    policy = RetryPolicy(draw=lambda: 0.5)
    assert sum(policy.delay(failures) or 0.0 for failures in range(1, policy.attempts)) > 3600


async def test_retry_after_is_honoured(world: World) -> None:
    fcm = world.use(FCM, Retry("quota", after=90.0))
    await world.sink.enqueue([request()])
    await world.dispatch()
    await world.dispatch(after=89.9)
    assert len(fcm.sent) == 1
    await world.dispatch(after=0.1)
    assert len(fcm.sent) == 2
    assert await world.queue.depth() == EMPTY


async def test_a_token_reported_gone_is_forgotten_at_the_first_report(world: World) -> None:
    fcm = world.use(FCM, Gone())
    await world.sink.enqueue([request()])
    await world.dispatch()
    assert await world.tokens.of_device("v1") is None
    await world.sink.enqueue([request(8)])
    await world.dispatch(after=3600)
    assert len(fcm.sent) == 1
    assert await world.queue.depth() == EMPTY


async def test_a_token_set_while_the_old_one_is_reported_gone_stays(world: World) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Script):
        async def send(self, token: str, notice: Notice) -> Outcome:
            asked.set()
            await answer.wait()
            return Gone()

    world.providers[FCM] = Slow()
    world.build()
    await world.sink.enqueue([request()])
    await world.dispatcher.start_due()
    await asked.wait()
    await world.tokens.set(PushToken("v1", "u1", FCM, "renewed"))
    answer.set()
    await world.dispatcher.drain()
    assert await world.tokens.of_device("v1") == PushToken("v1", "u1", FCM, "renewed")


async def test_what_can_never_work_is_a_dead_letter_at_once_and_can_be_requeued(world: World) -> None:
    fcm = world.use(FCM, Failed("payload refused"))
    await world.sink.enqueue([request()])
    await world.dispatch()
    (dead,) = await world.queue.dead_letters(10)
    assert (dead.attempts, dead.error) == (1, "payload refused")
    await world.dispatch(after=3600)
    assert len(fcm.sent) == 1
    assert await world.queue.requeue(dead.push_id, world.clock.now_ms())
    await world.dispatch()
    assert len(fcm.sent) == 2
    assert await world.queue.depth() == EMPTY


async def test_a_provider_that_raises_is_tried_again_and_its_words_stay_out_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fcm = world.use(FCM, RuntimeError(f"could not send {TEXT} to token-1"))
    await world.sink.enqueue([request()])
    with caplog.at_level(logging.DEBUG):
        await world.dispatch()
        await world.dispatch(after=1)
    assert len(fcm.sent) == 2
    assert "RuntimeError" in caplog.text
    assert TEXT not in caplog.text
    assert "token-1" not in caplog.text


async def test_a_provider_that_hangs_is_cut_off_and_tried_again(world: World) -> None:
    world.limits = DispatchLimits(timeout=0.01)
    fcm = world.use(FCM, asyncio.Event())
    await world.sink.enqueue([request()])
    await world.dispatch()
    await world.dispatch(after=1)
    assert len(fcm.sent) == 2
    assert await world.queue.depth() == EMPTY


async def test_a_failed_push_gives_way_to_a_later_message_that_came_meanwhile(world: World) -> None:
    class Interrupted(Script):
        async def send(self, token: str, notice: Notice) -> Outcome:
            if notice.seq == 7:
                await world.sink.enqueue([later])
            return await super().send(token, notice)

    later = request(8)
    fcm = world.providers[FCM] = Interrupted(Retry("busy"))
    world.build()
    await world.sink.enqueue([request(7)])
    await world.dispatch()
    await world.dispatch()
    await world.dispatch(after=3600)
    assert fcm.sent == [("token-1", 7), ("token-1", 8)]
    assert await world.queue.depth() == EMPTY


# --- crashes ----------------------------------------------------------------------------------------------------------


async def test_what_was_under_way_in_a_crash_is_sent_again_after_the_lease(world: World) -> None:
    world.limits = DispatchLimits(lease=60.0)
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])
    # Claimed, and then the process is gone.
    assert len(await world.queue.claim(FCM, world.clock.now_ms(), 60_000, 10)) == 1
    world.build()
    await world.dispatch(after=59.9)
    assert fcm.sent == []
    await world.dispatch(after=0.1)
    assert fcm.sent == [("token-1", 7)]
    assert await world.queue.depth() == EMPTY


async def test_a_push_whose_end_could_not_be_noted_is_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])

    async def away(push_id: int) -> None:
        raise unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(world.queue, "done", away)
        await world.dispatch()
    await world.dispatch(after=60)
    assert len(fcm.sent) == 2
    assert await world.queue.depth() == EMPTY


# --- whom it is not for -----------------------------------------------------------------------------------------------


async def test_a_device_signed_out_meanwhile_gets_nothing(world: World) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])
    await world.tokens.remove("v1")
    await world.dispatch()
    assert fcm.sent == []
    assert await world.queue.depth() == EMPTY


async def test_a_device_signed_out_while_its_push_is_composed_gets_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = world.compose

    async def sign_out_meanwhile(request: PushRequest, preview: PushPreview, counts_all: bool) -> Notice | None:
        await world.tokens.remove("v1")
        return await compose(request, preview, counts_all)

    monkeypatch.setattr(world, "compose", sign_out_meanwhile)
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])
    await world.dispatch()
    assert fcm.sent == []
    assert await world.queue.depth() == EMPTY


async def test_a_device_that_is_somebody_elses_now_gets_nothing(world: World) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])
    await world.tokens.set(PushToken("v1", "u2", FCM, "token-1"))
    await world.dispatch()
    assert fcm.sent == []
    assert await world.queue.depth() == EMPTY


async def test_a_token_without_a_configured_provider_is_left_alone_and_named_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.use(APNS)
    await world.sink.enqueue([request(7)])
    await world.sink.enqueue([request(8)])
    assert [record.getMessage() for record in caplog.records] == [
        "there are tokens of provider FCM, which is not configured"
    ]
    assert await world.queue.depth() == EMPTY
    assert await world.tokens.of_device("v1") is not None


# --- many -------------------------------------------------------------------------------------------------------------


async def test_no_more_are_under_way_than_allowed_and_all_arrive(world: World) -> None:
    world.limits = DispatchLimits(concurrency=4)
    fcm = world.use(FCM)
    arrived = asyncio.Event()
    fcm.on_send = lambda: arrived.set() if len(fcm.sent) == 50 else None
    await world.sink.enqueue([request(channel=f"g{number}") for number in range(50)])
    running = asyncio.create_task(world.dispatcher.run())
    await asyncio.wait_for(arrived.wait(), 10)
    await stop(world.dispatcher, running)
    assert len(fcm.sent) == 50
    assert fcm.most_at_once <= 4
    assert fcm.closed
    assert await world.queue.depth() == EMPTY


async def test_a_provider_that_hangs_delays_no_other(world: World) -> None:
    world.limits = DispatchLimits(concurrency=2)
    stuck = asyncio.Event()
    fcm, apns = world.use(FCM, *[stuck] * 2), world.use(APNS)
    await world.tokens.set(PushToken("v2", "u2", APNS, "token-2"))
    arrived = asyncio.Event()
    apns.on_send = lambda: arrived.set() if len(apns.sent) == 20 else None
    running = asyncio.create_task(world.dispatcher.run())
    await world.sink.enqueue([request(channel=f"g{number}") for number in range(20)])
    await world.sink.enqueue([request(channel=f"g{number}", user="u2") for number in range(20)])
    await asyncio.wait_for(arrived.wait(), 10)
    assert len(fcm.sent) == 2
    stuck.set()
    await stop(world.dispatcher, running)


# --- a provider that is down ------------------------------------------------------------------------------------------

DOWN = Retry("connect", is_down=True)


async def test_a_provider_that_is_down_is_left_alone_and_asked_with_one_push_at_a_time(world: World) -> None:
    world.limits = DispatchLimits(concurrency=2, breaker=BreakerPolicy(failures=2, first=4.0, draw=lambda: 1.0))
    fcm = world.use(FCM, *[DOWN] * 4)
    await world.sink.enqueue([request(channel=f"g{number}") for number in range(6)])
    await world.dispatch()
    assert len(fcm.sent) == 2
    await world.dispatch(after=3.9)
    assert len(fcm.sent) == 2, "it is left alone"
    await world.dispatch(after=0.1)
    assert len(fcm.sent) == 3, "one asks"
    await world.dispatch(after=7.9)
    assert len(fcm.sent) == 3, "for twice as long"
    await world.dispatch(after=0.1)
    await world.dispatch(after=16)
    assert len(fcm.sent) == 5, "asked again, and it works"
    for _ in range(5):
        await world.dispatch(after=60)
    assert await world.queue.depth() == EMPTY


async def test_what_was_under_way_when_it_went_down_keeps_its_place_and_its_attempts(world: World) -> None:
    world.limits = DispatchLimits(concurrency=4, breaker=BreakerPolicy(failures=2, first=2.0, draw=lambda: 1.0))
    fcm = world.use(FCM, *[DOWN] * 4)
    start = world.clock.now_ms()
    for number in range(6):
        await world.sink.enqueue([request(number + 1, channel=f"g{number}")])
        world.clock.advance(0.001)
    await world.dispatch()
    assert sorted(seq for _, seq in fcm.sent) == [1, 2, 3, 4]
    waiting = sorted(await world.queue.claim(FCM, start + 10_000, 0, 10), key=lambda each: each.push_id)
    # Two found out; of the others nothing is counted, and nothing waits longer than it did.
    assert sorted(each.attempts for each in waiting) == [0, 0, 0, 0, 1, 1]
    assert [each.queued_at_ms for each in waiting] == [start + number for number in range(6)]
    fcm.sent.clear()
    for _ in range(4):
        await world.dispatch(after=20)
    assert sorted(seq for _, seq in fcm.sent) == [1, 2, 3, 4, 5, 6]


async def test_the_backlog_goes_out_in_order_of_age(world: World) -> None:
    world.limits = DispatchLimits(concurrency=1, breaker=BreakerPolicy(failures=1, first=1.0, draw=lambda: 1.0))
    fcm = world.use(FCM, DOWN)
    for number in range(5):
        await world.sink.enqueue([request(number + 1, channel=f"g{number}")])
        await world.dispatch(after=0.01)
    assert len(fcm.sent) == 1
    fcm.sent.clear()
    await world.dispatch(after=1)
    for _ in range(4):
        await world.dispatch()
    assert [seq for _, seq in fcm.sent] == [1, 2, 3, 4, 5]


async def test_a_push_that_always_fails_does_not_keep_asking_for_all(world: World) -> None:
    world.limits = DispatchLimits(concurrency=1, breaker=BreakerPolicy(failures=1, first=1.0, draw=lambda: 1.0))
    fcm = world.use(FCM, *[DOWN] * 4)
    await world.sink.enqueue([request(1, channel="g1"), request(2, channel="g2")])
    for _ in range(5):
        await world.dispatch(after=10)
    assert [seq for _, seq in fcm.sent] == [1, 1, 1, 1, 2]


async def test_a_push_outlasts_its_attempts_while_the_provider_is_down_but_not_for_ever(world: World) -> None:
    world.limits = DispatchLimits(breaker=BreakerPolicy(failures=1))
    fcm = world.use(FCM, *[DOWN] * 100)
    await world.sink.enqueue([request()])
    for _ in range(20):
        await world.dispatch(after=3_600)
    assert len(fcm.sent) == 20
    assert (await world.queue.depth()).waiting == 1
    for _ in range(5):
        await world.dispatch(after=3_600)
    assert [each.error for each in await world.queue.dead_letters(10)] == ["connect"]


async def test_a_provider_that_is_down_stops_no_other(world: World) -> None:
    world.limits = DispatchLimits(breaker=BreakerPolicy(failures=1))
    fcm, apns = world.use(FCM, DOWN), world.use(APNS)
    await world.tokens.set(PushToken("v2", "u1", APNS, "token-2"))
    await world.sink.enqueue([request(channel="g1")])
    await world.dispatch()
    await world.sink.enqueue([request(channel="g2")])
    await world.dispatch()
    assert (len(fcm.sent), len(apns.sent)) == (1, 2)


async def test_a_device_that_is_asked_too_often_does_not_make_the_provider_down(world: World) -> None:
    world.limits = DispatchLimits(breaker=BreakerPolicy(failures=1))
    fcm = world.use(FCM, Retry("too_fast", after=100))
    await world.sink.enqueue([request(channel="g1")])
    await world.dispatch()
    await world.sink.enqueue([request(channel="g2")])
    await world.dispatch()
    assert len(fcm.sent) == 2


async def test_no_more_go_out_than_the_provider_permits(world: World) -> None:
    world.rates = {FCM: Rate(per_second=2, burst=2)}
    fcm = world.use(FCM)
    await world.sink.enqueue([request(channel=f"g{number}") for number in range(5)])
    counts = []
    for after in (0, 0.5, 0.5, 0.4, 0.1):
        await world.dispatch(after=after)
        counts.append(len(fcm.sent))
    assert counts == [2, 3, 4, 4, 5]


# --- what nobody wants any more ---------------------------------------------------------------------------------------


async def test_what_has_become_pointless_is_dropped(world: World) -> None:
    fcm = world.use(FCM)
    await world.sink.enqueue([request()])
    world.unwanted.add(("u1", "g1"))
    await world.dispatch()
    assert fcm.sent == []
    assert await world.queue.depth() == EMPTY


async def test_what_has_been_read_is_taken_back_and_the_devices_are_told_silently(world: World) -> None:
    fcm, apns = world.use(FCM, Retry("busy")), world.use(APNS)
    await world.tokens.set(PushToken("v2", "u1", APNS, "token-2"))
    await world.sink.enqueue([request(7), request(3, channel="g2")])
    await world.sink.cancel([PushRead("u1", "g1", 8)])
    for _ in range(3):
        await world.dispatch(after=60)
    for provider in (fcm, apns):
        last = {notice.channel_id: notice for notice in provider.notices}
        assert (last["g1"].seq, last["g1"].silent, last["g2"].silent) == (8, True, False)
        assert [notice.seq for notice in provider.notices if notice.channel_id == "g1" and not notice.silent] == []


async def test_a_read_message_that_is_under_way_is_followed_by_the_silent_push(world: World) -> None:
    answer, asked = asyncio.Event(), asyncio.Event()
    fcm = world.use(FCM, answer)
    fcm.on_send = asked.set
    await world.sink.enqueue([request(7)])
    await world.dispatcher.start_due()
    await asked.wait()
    await world.sink.cancel([PushRead("u1", "g1", 7)])
    answer.set()
    await world.dispatch()
    assert [(notice.seq, notice.silent) for notice in fcm.notices] == [(7, False), (7, True)]


async def test_a_silent_push_that_fails_for_good_is_no_dead_letter(world: World) -> None:
    world.use(FCM, Failed("refused"))
    await world.sink.cancel([PushRead("u1", "g1", 7)])
    await world.dispatch()
    assert await world.queue.depth() == EMPTY


async def test_browsers_are_told_nothing_silently(world: World) -> None:
    class Browser(Script):
        can_be_silent = False

    browser = world.providers[FCM] = Browser()
    world.build()
    await world.sink.cancel([PushRead("u1", "g1", 7)])
    await world.dispatch()
    assert browser.sent == []


@pytest.mark.parametrize("preview", [PushPreview.NONE, PushPreview.SENDER])
async def test_a_text_that_a_device_does_not_show_does_not_get_into_the_queue(
    world: World, preview: PushPreview
) -> None:
    world.use(FCM)
    await world.tokens.set(PushToken("v1", "u1", FCM, "token-1", preview))
    await world.sink.enqueue([request()])
    (claimed,) = await world.queue.claim(FCM, world.clock.now_ms(), 1, 10)
    assert claimed.push.request == dataclasses.replace(request(), preview="")


# --- running ----------------------------------------------------------------------------------------------------------


async def stop(dispatcher: Dispatcher, running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await dispatcher.close()


async def test_running_it_wakes_for_new_requests_and_for_those_due_again(world: World) -> None:
    fcm = Script(Retry("busy"))
    clock = SystemClock()
    retry = RetryPolicy(attempts=2, first=0.02, draw=lambda: 0.0)
    dispatcher = Dispatcher(world.queue, world.tokens, {FCM: fcm}, world.compose, clock, retry=retry)
    sink = QueueSink(world.queue, world.tokens, dispatcher, clock)
    seen: asyncio.Queue[int] = asyncio.Queue()
    fcm.on_send = lambda: seen.put_nowait(fcm.sent[-1][1])
    running = asyncio.create_task(dispatcher.run())
    await sink.enqueue([request(7)])
    async with asyncio.timeout(10):
        assert [await seen.get(), await seen.get()] == [7, 7]
        await sink.enqueue([request(8)])
        assert await seen.get() == 8
    await stop(dispatcher, running)


async def test_running_it_looks_again_after_the_storage_was_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.dispatcher._RECOVERY", 0.01)
    fcm = world.use(FCM)
    arrived = asyncio.Event()
    fcm.on_send = arrived.set
    await world.sink.enqueue([request()])
    claim = world.queue.claim
    failures: list[Exception] = [
        unavailable("the storage does not answer", Reason.STORAGE_UNAVAILABLE),
        RuntimeError("a bug"),
    ]

    async def sometimes(kind: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        if failures:
            raise failures.pop(0)
        return await claim(kind, now_ms, lease_ms, limit)

    monkeypatch.setattr(world.queue, "claim", sometimes)
    running = asyncio.create_task(world.dispatcher.run())
    await asyncio.wait_for(arrived.wait(), 10)
    await stop(world.dispatcher, running)


async def test_closing_waits_for_the_sends_under_way(world: World) -> None:
    answer, asked = asyncio.Event(), asyncio.Event()
    fcm = world.use(FCM, answer)
    fcm.on_send = asked.set
    await world.sink.enqueue([request()])
    running = asyncio.create_task(world.dispatcher.run())
    await asked.wait()
    stopping = asyncio.create_task(stop(world.dispatcher, running))
    await asyncio.wait([running])
    assert not fcm.closed
    answer.set()
    await stopping
    assert fcm.closed
    assert await world.queue.depth() == EMPTY


# --- the log provider and the edge ------------------------------------------------------------------------------------


NOTICE = Notice("u1", "g1", 7, "u9", "Ann", TEXT, 3, None, 1_749_999_995_000)


async def test_the_log_provider_names_whom_it_wakes_but_no_token_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert await LogProvider().send("secret-token", NOTICE) == Sent()
        silent = dataclasses.replace(NOTICE, sender_id="", title="", body="")
        assert await LogProvider().send("secret-token", silent) == Sent()
    assert [record.getMessage() for record in caplog.records] == [
        "push: user u1, channel g1, message 7 from user u9",
        "silent push: user u1, channel g1, 3 unread",
    ]


# The edge asks nothing of the call's context.
CONTEXT: Any = None


async def test_the_service_keeps_what_it_is_given(world: World) -> None:
    world.use(FCM)
    message = push_queue_pb2.PushRequest(user_id="u1", channel_id="g1", seq=7, sender_id="u9", preview=TEXT)
    message.created_at.FromMilliseconds(1_749_999_995_000)
    await PushQueueService(world.sink).Enqueue(push_queue_pb2.EnqueueRequest(requests=[message]), CONTEXT)
    (claimed,) = await world.queue.claim(FCM, world.clock.now_ms(), 1, 10)
    assert claimed.push.request == request()


@pytest.mark.parametrize(
    ("requests", "field_name"),
    [
        ([push_queue_pb2.PushRequest(user_id="u1", channel_id="g1")], "requests[0].seq"),
        ([push_queue_pb2.PushRequest(user_id="u1", channel_id="g1", seq=2**63)], "requests[0].seq"),
        (
            [push_queue_pb2.PushRequest(user_id="u1", channel_id="g1", seq=1, created_at=Timestamp(seconds=2**62))],
            "requests[0].created_at",
        ),
        ([push_queue_pb2.PushRequest(user_id="u1", channel_id="g1", seq=1, preview="x" * 257)], "requests[0].preview"),
        ([push_queue_pb2.PushRequest(user_id="u1", channel_id="g1", seq=1)] * 1_001, "requests"),
    ],
)
async def test_the_service_refuses_what_it_cannot_keep(
    world: World, requests: list[push_queue_pb2.PushRequest], field_name: str
) -> None:
    world.use(FCM)
    with pytest.raises(Refusal) as refused:
        await PushQueueService(world.sink).Enqueue(push_queue_pb2.EnqueueRequest(requests=requests), CONTEXT)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert [each.field for each in refused.value.violations] == [field_name]
    assert await world.queue.depth() == EMPTY


async def test_the_service_takes_back_what_has_been_read(world: World) -> None:
    world.use(FCM)
    await world.sink.enqueue([request(7)])
    read = push_queue_pb2.PushRead(user_id="u1", channel_id="g1", upto_seq=7)
    await PushQueueService(world.sink).Cancel(push_queue_pb2.CancelRequest(reads=[read]), CONTEXT)
    (left,) = await world.queue.claim(FCM, world.clock.now_ms(), 1, 10)
    assert (left.push.request.seq, left.push.request.silent) == (7, True)


@pytest.mark.parametrize(
    ("reads", "field_name"),
    [
        ([push_queue_pb2.PushRead(user_id="u1", channel_id="g1", upto_seq=1)] * 1_001, "reads"),
        ([push_queue_pb2.PushRead(user_id="u1", channel_id="g1")], "reads[0].upto_seq"),
        ([push_queue_pb2.PushRead(user_id="u1", channel_id="g1", upto_seq=2**64 - 1)], "reads[0].upto_seq"),
    ],
)
async def test_the_service_refuses_reads_that_it_cannot_keep(
    world: World, reads: list[push_queue_pb2.PushRead], field_name: str
) -> None:
    with pytest.raises(Refusal) as refused:
        await PushQueueService(world.sink).Cancel(push_queue_pb2.CancelRequest(reads=reads), CONTEXT)
    assert [each.field for each in refused.value.violations] == [field_name]


# --- metrics ----------------------------------------------------------------------------------------------------------


async def test_everything_that_happens_is_counted(world: World) -> None:
    registry = CollectorRegistry()
    metrics = PushMetrics(registry, world.clock)
    fcm = Script(Retry("too_fast"), Failed("refused"), DOWN)
    limits = DispatchLimits(concurrency=1, breaker=BreakerPolicy(failures=1, first=1.0))
    dispatcher = Dispatcher(
        world.queue, world.tokens, {FCM: fcm}, world.compose, world.clock, limits, world.retry, metrics=metrics
    )
    sink = QueueSink(world.queue, world.tokens, dispatcher, world.clock)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tidings_push_{name}", {"provider": "FCM"} | labels)

    await sink.enqueue([request(channel=f"g{number}") for number in range(5)])
    world.unwanted.add(("u1", "g4"))
    metrics.depth(await world.queue.depth())
    world.clock.advance(3)
    assert registry.get_sample_value("tidings_push_waiting") == 5
    assert registry.get_sample_value("tidings_push_oldest_waiting_seconds") == 3
    for _ in range(3):
        await dispatcher.start_due()
        await dispatcher.drain()
    assert value("provider_down") == 1
    for _ in range(4):
        world.clock.advance(30)
        await dispatcher.start_due()
        await dispatcher.drain()
    assert value("queued_total") == 5
    assert value("retried_total", reason="too_fast") == 1
    assert value("retried_total", reason="connect") == 1
    assert value("failed_total", reason="refused") == 1
    assert value("dropped_total") == 1
    assert value("sent_total") == 3
    assert value("provider_down") == 0
    metrics.depth(await world.queue.depth())
    assert registry.get_sample_value("tidings_push_dead_letters") == 1
    assert registry.get_sample_value("tidings_push_oldest_waiting_seconds") == 0
