"""Much of what is allowed, and some of what is not: each against a server, three times at once.

As a program, `python -m tests.support.floods HOST:PORT`: prints the name of each attack after which the server answers.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
from collections.abc import Awaitable, Callable

from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from tests.support.http2 import CHECK, Http2, grpc_message, is_well

WATCH = "/grpc.health.v1.Health/Watch"
LOG_IN = "/tidings.v1.AccountService/LogIn"


async def rapid_reset(http: Http2) -> None:
    for _ in range(2_000):
        call = await http.call(CHECK)
        await call.reset()


async def pings(http: Http2) -> None:
    await http.send(PingFrame(0, b"12345678").serialize() * 20_000)


async def settings(http: Http2) -> None:
    await http.send(SettingsFrame(0, settings={4: 1_000}).serialize() * 20_000)


async def windows(http: Http2) -> None:
    call = await http.call(WATCH)
    await http.send(WindowUpdateFrame(call.stream_id, window_increment=1).serialize() * 20_000)


async def continuations(http: Http2) -> None:
    await http.frames(HeadersFrame(1, http.block([(":method", "POST")])))
    for _ in range(500):
        await http.frames(ContinuationFrame(1, http.block([("x" * 100, b"v" * 10_000)])))


async def empty_data(http: Http2) -> None:
    call = await http.call(LOG_IN)
    await http.send(DataFrame(call.stream_id, b"").serialize() * 20_000)


async def bombs(http: Http2) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    for _ in range(20):
        call = await http.call(LOG_IN, encoding="gzip")
        await call.message(bomb, flag=1, end=True)


async def headers_without_acknowledgement(http: Http2) -> None:
    for _ in range(20):
        await http.call(LOG_IN, [("x", b"v" * (1 << 20))])


async def flipped_bits(http: Http2) -> None:
    dice = random.Random(7)
    good = HeadersFrame(1, http.block([(":method", "POST"), (":path", CHECK)]), flags=["END_HEADERS"]).serialize()
    for _ in range(200):
        bad = bytearray(good + DataFrame(1, grpc_message(b"")).serialize())
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        await http.send(bytes(bad))


ATTACKS = (
    rapid_reset,
    pings,
    settings,
    windows,
    continuations,
    empty_data,
    bombs,
    headers_without_acknowledgement,
    flipped_bits,
)


async def main(endpoint: str) -> None:
    for attack in ATTACKS:

        async def run(attack: Callable[[Http2], Awaitable[None]] = attack) -> None:
            async with await Http2.connect(endpoint, acknowledging=False) as http:
                try:
                    async with asyncio.timeout(10):
                        await attack(http)
                        await http.ping()
                except TimeoutError:
                    # It is not answered: the server has stopped reading from it.
                    pass

        await asyncio.gather(run(), run(), run())
        if not await is_well(endpoint):
            raise SystemExit(1)
        print(attack.__name__, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
