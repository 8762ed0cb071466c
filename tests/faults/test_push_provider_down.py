"""One provider is away for a while: the others are not delayed, and when it is back its backlog goes out by age."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from notifier.dispatcher import Dispatcher, DispatchLimits
from tests.faults.push_sender import TokenOfEveryDevice, compose
from tests.support.providers.certificates import server_context
from tests.support.providers.server import Http2Server
from tests.support.providers.site import site
from tests.support.waiting import eventually
from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push import SqlitePushQueue
from tidings.core.clock import SystemClock
from tidings.core.ports import DevicePush
from tidings.core.values import PushProvider, PushRequest, PushToken
from tidings.node.push import providers
from tidings.node.settings import load

FCM, APNS = PushProvider.FCM, PushProvider.APNS
EVERY = 0.05
OUTAGE = 60
"""How many pushes for each provider come while it is away."""
# The failures that open a breaker, and those who asked in vain until they let another ask.
FOUND_OUT = 8


class TokenByName(TokenOfEveryDevice):
    """The device's name says which provider reaches it."""

    async def of_device(self, device_id: str) -> PushToken | None:
        return PushToken(device_id, "u1", PushProvider[device_id.partition("-")[0]], device_id)


async def test_a_provider_that_is_away_delays_no_other_and_gets_its_backlog_by_age(
    folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "push.toml"
    async with site(tmp_path) as found:
        config.write_text(found.config)
        section, clock = load(config).push, SystemClock()
        database = Database(folder)
        queue = SqlitePushQueue(database)
        dispatcher = Dispatcher(
            queue,
            TokenByName(),
            {kind: each for kind, each in providers(section, clock).items() if kind in (FCM, APNS)},
            compose,
            clock,
            DispatchLimits(concurrency=1),
        )
        running = asyncio.create_task(dispatcher.run())

        async def send(seq: int) -> None:
            request = PushRequest("u1", f"g{seq}", seq, "u9", "text", clock.now_ms())
            pushes = [DevicePush(request, f"{kind.name}-{seq}", kind) for kind in (FCM, APNS)]
            await queue.enqueue(pushes, clock.now_ms())
            dispatcher.wake()

        async def have_arrived(server: Http2Server, count: int) -> None:
            async def holds() -> bool:
                arrived = found.fcm.messages if server is found.fcm else found.apns.pushes
                return len(arrived) >= count

            await eventually(holds, 60)

        await send(0)
        await have_arrived(found.fcm, 1)
        await have_arrived(found.apns, 1)
        port = int(found.fcm.url.rpartition(":")[2])
        await found.fcm.stop()
        for seq in range(1, OUTAGE + 1):
            await send(seq)
            await asyncio.sleep(EVERY)
        await have_arrived(found.apns, OUTAGE + 1)
        assert len(found.fcm.messages) == 1, "the other one was done while this one was away"
        await found.fcm.start(server_context(tmp_path / "certificate.pem", tmp_path / "certificate-key.pem"), port)
        await have_arrived(found.fcm, OUTAGE + 1)
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
