"""One provider is away for a minute: the others are not delayed, and when it is back its backlog goes out by age."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from notifier.dispatcher import Dispatcher, DispatchLimits
from tests.faults.push_sender import TokenOfEveryDevice, compose
from tests.support.providers.certificates import server_context
from tests.support.providers.site import site
from tests.support.waiting import eventually
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.clock import SystemClock
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest, PushToken
from tidings_server.notifier import providers
from tidings_server.settings import load

FCM, APNS, WEB_PUSH = PushProvider.FCM, PushProvider.APNS, PushProvider.WEB_PUSH
EVERY = 1.0
OUTAGE = 60
"""How many pushes for each provider come while it is away."""
BUSY_MACHINE = 10.0
"""Seconds within which a push reaches a provider that works, which takes milliseconds, on any machine."""
# The failures that open a breaker, and those who asked in vain until they let another ask.
FOUND_OUT = 8


class TokenByName(TokenOfEveryDevice):
    """The device's name says which provider reaches it."""

    def __init__(self, browser: str) -> None:
        self._browser = browser

    async def of_device(self, device_id: str) -> PushToken | None:
        kind = PushProvider[device_id.partition("-")[0]]
        return PushToken(device_id, "u1", kind, self._browser if kind is WEB_PUSH else device_id)


async def test_a_provider_that_is_away_delays_no_other_and_gets_its_backlog_by_age(
    folder: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    config = tmp_path / "push.toml"
    loop = asyncio.get_running_loop()
    async with site(tmp_path) as found:
        config.write_text(found.config)
        section, clock = load(config).push, SystemClock()
        database = Database(folder)
        queue = SqlitePushQueue(database)
        dispatcher = Dispatcher(
            queue,
            TokenByName(found.web_push.subscribe("browser")),
            {kind: each for kind, each in providers(section, clock).items() if kind is not PushProvider.LOG},
            compose,
            clock,
            DispatchLimits(concurrency=1),
        )
        running = asyncio.create_task(dispatcher.run())
        arrived: dict[PushProvider, Sequence[object]] = {
            FCM: found.fcm.messages,
            APNS: found.apns.pushes,
            WEB_PUSH: found.web_push.pushes,
        }

        async def send(seq: int) -> None:
            request = PushRequest("u1", f"g{seq}", seq, "u9", "text", clock.now_ms())
            pushes = [DevicePush(request, f"{kind.name}-{seq}", kind) for kind in arrived]
            await queue.enqueue(pushes, clock.now_ms())
            dispatcher.wake()

        async def have_arrived(count: int, *kinds: PushProvider, seconds: float = BUSY_MACHINE) -> None:
            async def holds() -> bool:
                return all(len(arrived[kind]) >= count for kind in kinds)

            await eventually(holds, seconds)

        await send(0)
        await have_arrived(1, FCM, APNS, WEB_PUSH)
        port = int(found.fcm.url.rpartition(":")[2])
        await found.fcm.stop()
        delays = []
        for seq in range(1, OUTAGE + 1):
            began = loop.time()
            await send(seq)
            await have_arrived(seq + 1, APNS, WEB_PUSH)
            delays.append(loop.time() - began)
            await asyncio.sleep(EVERY)
        assert len(found.fcm.messages) == 1, "the others were done while this one was away"
        await found.fcm.start(server_context(tmp_path / "certificate.pem", tmp_path / "certificate-key.pem"), port)
        began = loop.time()
        await have_arrived(OUTAGE + 1, FCM, seconds=60)
        print(
            f"while one was away the others had a push after {median(delays) * 1000:.0f} ms,"
            f" {max(delays) * 1000:.0f} at the most; the backlog was out {loop.time() - began:.1f} s after its return"
        )
        record_property("others_most_ms", round(max(delays) * 1000))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await dispatcher.close()
        await database.close()
        order = [int(each["data"]["seq"]) for each in found.fcm.messages]
    assert sorted(order) == list(range(OUTAGE + 1))
    # Only the few that found out that it was away had been put off by then.
    late = [seq for at, seq in enumerate(order) if seq < max(order[:at], default=0)]
    assert all(seq <= FOUND_OUT for seq in late)
