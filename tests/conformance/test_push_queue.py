from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.conformance.soft_state import PUSH_QUEUES
from tidings.core.ports import DeadLetter, DevicePush, PushQueue, PushQueueDepth, QueuedPush
from tidings.core.values import PushProvider, PushRequest

NOW = 1_750_000_000_000
LEASE = 60_000
FCM, APNS = PushProvider.FCM, PushProvider.APNS


@pytest.fixture(params=PUSH_QUEUES)
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[PushQueue]:
    async with PUSH_QUEUES[request.param](request) as opened:
        yield opened


def push(device: str = "v1", channel: str = "g1", seq: int = 7, provider: PushProvider = FCM) -> DevicePush:
    return DevicePush(PushRequest(f"u-{device}", channel, seq, "u9", "héllo", NOW - 5_000), device, provider)


async def claim(queue: PushQueue, now: int = NOW, limit: int = 100) -> Sequence[QueuedPush]:
    return await queue.claim(FCM, now, LEASE, limit)


async def claim_one(queue: PushQueue, now: int = NOW) -> QueuedPush:
    (claimed,) = await claim(queue, now)
    return claimed


async def test_what_is_kept_can_be_claimed_whole(queue: PushQueue) -> None:
    kept = push()
    await queue.enqueue([kept], NOW)
    claimed = await claim_one(queue)
    assert (claimed.push, claimed.attempts) == (kept, 0)


async def test_a_claimed_push_is_nobody_elses_until_its_lease_is_over(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    first = await claim_one(queue)
    assert await claim(queue, NOW + LEASE - 1) == []
    assert await queue.next_due_ms(FCM) == NOW + LEASE
    assert await claim_one(queue, NOW + LEASE) == first


async def test_what_was_kept_while_a_clock_was_ahead_is_due_at_once(queue: PushQueue) -> None:
    ahead = NOW + 400 * 86_400_000
    await queue.enqueue([push("v1"), push("v2")], ahead)
    (leased, other) = await claim(queue, ahead)
    await queue.retry(other.push_id, ahead + 3_000)
    await queue.enqueue([push("v3")], NOW)
    assert {each.push_id for each in await claim(queue)} >= {leased.push_id, other.push_id}
    assert await queue.next_due_ms(FCM) == NOW + LEASE


async def test_each_provider_has_a_line_of_its_own(queue: PushQueue) -> None:
    await queue.enqueue([push("v1"), push("v2", provider=APNS)], NOW)
    assert [each.push.device_id for each in await claim(queue)] == ["v1"]
    assert [each.push.device_id for each in await queue.claim(APNS, NOW, LEASE, 10)] == ["v2"]
    assert await queue.next_due_ms(PushProvider.WEB_PUSH) is None


async def test_those_due_longest_come_first_and_no_more_than_asked_for(queue: PushQueue) -> None:
    await queue.enqueue([push("v3")], NOW + 2)
    await queue.enqueue([push("v1"), push("v2")], NOW)
    assert [each.push.device_id for each in await claim(queue, NOW + 5, 2)] == ["v1", "v2"]
    assert [each.push.device_id for each in await claim(queue, NOW + 5, 2)] == ["v3"]


async def test_done_is_done(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    await queue.done((await claim_one(queue)).push_id)
    assert await claim(queue, NOW + 10 * LEASE) == []
    assert await queue.next_due_ms(FCM) is None
    assert await queue.depth() == PushQueueDepth(0, 0, 0)


async def test_a_retry_is_due_when_it_says_and_counts_the_attempt(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    await queue.retry((await claim_one(queue)).push_id, NOW + 3_000)
    assert await queue.next_due_ms(FCM) == NOW + 3_000
    assert await claim(queue, NOW + 2_999) == []
    assert (await claim_one(queue, NOW + 3_000)).attempts == 1


async def test_a_later_message_replaces_the_push_that_waits_for_its_channel(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7), push(channel="g2", seq=3), push("v2", seq=7)], NOW)
    await queue.enqueue([push(seq=8)], NOW + 10)
    claimed = await claim(queue, NOW + 10)
    assert [each.push for each in claimed] == [push(channel="g2", seq=3), push("v2", seq=7), push(seq=8)]


async def test_the_later_message_takes_the_place_in_the_line(queue: PushQueue) -> None:
    await queue.enqueue([push("v1", seq=7)], NOW)
    await queue.enqueue([push("v2")], NOW + 1)
    await queue.enqueue([push("v1", seq=8)], NOW + 2)
    assert (await queue.depth()).oldest_ms == NOW
    assert [each.push.device_id for each in await claim(queue, NOW + 2, 1)] == ["v1"]


async def test_an_earlier_or_equal_message_replaces_nothing(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    await queue.enqueue([push(seq=7)], NOW)
    await queue.enqueue([push(seq=6)], NOW)
    assert [each.push.request.seq for each in await claim(queue)] == [7]
    await queue.enqueue([push(seq=7)], NOW)
    assert await claim(queue) == [], "it is under way already"


async def test_a_later_message_replaces_one_that_waits_to_be_tried_again_at_once(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    await queue.retry((await claim_one(queue)).push_id, NOW + 300_000)
    await queue.enqueue([push(seq=8)], NOW + 10)
    claimed = await claim_one(queue, NOW + 10)
    assert (claimed.push, claimed.attempts) == (push(seq=8), 0)
    await queue.done(claimed.push_id)
    assert (await queue.depth()).waiting == 0


async def test_a_push_under_way_is_not_replaced_and_leaves_if_it_fails(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    under_way = await claim_one(queue)
    await queue.enqueue([push(seq=8)], NOW)
    later = await claim_one(queue)
    assert later.push.request.seq == 8
    await queue.retry(under_way.push_id, NOW + 1_000)
    assert await claim(queue, NOW + 1_000) == []
    await queue.retry(later.push_id, NOW + 1_000)
    assert (await claim_one(queue, NOW + 1_000)).push.request.seq == 8


async def test_who_finishes_after_the_lease_does_not_finish_a_later_push(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    stalled = await claim_one(queue)
    await queue.enqueue([push(seq=8)], NOW + LEASE)
    await queue.done(stalled.push_id)
    await queue.retry(stalled.push_id, NOW)
    await queue.give_up(stalled.push_id, "late", NOW)
    assert (await claim_one(queue, NOW + LEASE)).push == push(seq=8)
    assert await queue.depth() == PushQueueDepth(1, 0, NOW)


async def test_what_is_given_up_is_a_dead_letter(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    claimed = await claim_one(queue)
    await queue.retry(claimed.push_id, NOW)
    await queue.give_up((await claim_one(queue)).push_id, "refused", NOW + 9)
    assert list(await queue.dead_letters(10)) == [DeadLetter(claimed.push_id, push(), 2, "refused", NOW + 9)]
    assert await queue.depth() == PushQueueDepth(0, 1, 0)
    assert await claim(queue, NOW + 10 * LEASE) == []


async def test_dead_letters_come_latest_first_one_a_device_and_channel(queue: PushQueue) -> None:
    for at, each in enumerate([push("v1"), push("v2"), push("v1", seq=8), push("v3")]):
        await queue.enqueue([each], NOW)
        await queue.give_up((await claim_one(queue)).push_id, "refused", NOW + at)
    assert [each.push for each in await queue.dead_letters(10)] == [push("v3"), push("v1", seq=8), push("v2")]
    assert [each.push for each in await queue.dead_letters(1)] == [push("v3")]


async def test_a_dead_letter_can_be_requeued(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    dead = (await claim_one(queue)).push_id
    await queue.give_up(dead, "refused", NOW)
    assert await queue.requeue(dead, NOW + 50)
    again = await claim_one(queue, NOW + 50)
    assert (again.push, again.attempts) == (push(), 0)
    assert list(await queue.dead_letters(10)) == []
    assert not await queue.requeue(dead, NOW + 50)


async def test_a_dead_letter_does_not_come_back_before_a_later_message(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    dead = (await claim_one(queue)).push_id
    await queue.give_up(dead, "refused", NOW)
    await queue.enqueue([push(seq=8)], NOW)
    assert await queue.requeue(dead, NOW)
    assert [each.push.request.seq for each in await claim(queue)] == [8]


async def test_a_dead_letter_can_be_dropped(queue: PushQueue) -> None:
    await queue.enqueue([push()], NOW)
    dead = (await claim_one(queue)).push_id
    await queue.give_up(dead, "refused", NOW)
    assert await queue.drop(dead)
    assert not await queue.drop(dead)
    assert await queue.depth() == PushQueueDepth(0, 0, 0)


async def test_the_depth_counts_what_waits_and_since_when(queue: PushQueue) -> None:
    await queue.enqueue([push("v1")], NOW)
    await queue.enqueue([push("v2"), push("v3")], NOW + 5)
    assert await queue.depth() == PushQueueDepth(3, 0, NOW)
    (oldest,) = await claim(queue, NOW + 5, 1)
    assert await queue.depth() == PushQueueDepth(3, 0, NOW), "what is under way has not arrived"
    await queue.done(oldest.push_id)
    assert await queue.depth() == PushQueueDepth(2, 0, NOW + 5)


def silent(device: str = "v1", channel: str = "g1", seq: int = 7) -> DevicePush:
    return DevicePush(PushRequest(f"u-{device}", channel, seq, "", "", NOW), device, FCM)


async def test_what_has_been_read_is_cancelled_for_these_devices_and_this_channel_only(queue: PushQueue) -> None:
    others = [push("v1", channel="g2"), push("v3"), push("v2", seq=9)]
    await queue.enqueue([push("v1", seq=7), push("v4", seq=6), *others], NOW)
    assert await queue.cancel(["v1", "v2", "v4", "v9"], "g1", 7) == 2
    assert sorted(each.push.device_id for each in await claim(queue)) == ["v1", "v2", "v3"]
    assert await queue.cancel(["v1"], "nowhere", 7) == 0
    assert await queue.cancel([], "g1", 7) == 0


async def test_what_waits_to_be_tried_again_is_cancelled_and_what_is_under_way_is_not(queue: PushQueue) -> None:
    await queue.enqueue([push("v1"), push("v2")], NOW)
    one, _ = await claim(queue)
    await queue.retry(one.push_id, NOW + 1_000)
    assert await queue.cancel(["v1", "v2"], "g1", 7) == 1
    assert (await queue.depth()).waiting == 1


async def test_a_silent_push_is_later_than_the_message_that_was_read(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    await queue.enqueue([silent(seq=7)], NOW)
    await queue.enqueue([push(seq=7)], NOW)
    assert [each.push for each in await claim(queue)] == [silent(seq=7)]
    await queue.enqueue([silent(seq=7)], NOW)
    await queue.enqueue([push(seq=8)], NOW)
    assert [each.push for each in await claim(queue)] == [push(seq=8)]


async def test_a_silent_push_follows_the_message_that_is_under_way(queue: PushQueue) -> None:
    await queue.enqueue([push(seq=7)], NOW)
    under_way = await claim_one(queue)
    await queue.enqueue([silent(seq=7)], NOW)
    await queue.retry(under_way.push_id, NOW)
    assert [each.push for each in await claim(queue)] == [silent(seq=7)]


async def test_what_is_put_back_without_an_attempt_has_its_place_and_counts_none(queue: PushQueue) -> None:
    await queue.enqueue([push("v1")], NOW)
    await queue.enqueue([push("v2")], NOW + 1)
    claimed = await claim(queue, NOW + 1)
    assert [each.queued_at_ms for each in claimed] == [NOW, NOW + 1]
    for each in reversed(claimed):
        await queue.retry(each.push_id, each.queued_at_ms, failed=False)
    again = await claim(queue, NOW + 1)
    assert [(each.push.device_id, each.attempts) for each in again] == [("v1", 0), ("v2", 0)]
