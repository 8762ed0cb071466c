"""Running the server: from the first port to the last commit."""

from __future__ import annotations

import asyncio
import logging
import signal

from tidings.node.embedded import Embedded
from tidings.node.settings import Settings

_log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then stops gracefully.

    Prints ``listening on HOST:PORT`` once clients can connect.

    Raises:
        SettingsError: A setting cannot be followed.
        DataFolderError: The data folder cannot be used.
        ListenError: The address cannot be listened at.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    node = await Embedded.open(settings)
    try:
        endpoint = await node.start()
        print(f"listening on {endpoint}", flush=True)
        failure = asyncio.ensure_future(node.wait())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({failure, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        _log.info("stopping")
        await node.drain()
        if failure.done():
            failure.result()
        failure.cancel()
    finally:
        await node.close()
