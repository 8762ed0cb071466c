"""The course of a replay: all devices sign in and say their lines, and their copies are compared with the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from tidings_client import Tidings, TidingsError, new_client_message_id
from tidings_replay import history
from tidings_replay.casting import Cast, DeviceRole, roles
from tidings_replay.churn import Churn
from tidings_replay.device import ReplayDevice
from tidings_replay.errors import ReplayError
from tidings_replay.report import Evidence, Said
from tidings_replay.signing import SpeakerAccount

ReportProgress = Callable[[str, int, int], None]
"""Is called with the name of a step, how much of it is done, and how much of it there is."""

_SIGN_UPS_AT_ONCE = 8
_LINE_SECONDS = 60.0
# When nothing has come to any device for this long, what is missing will not come.
_QUIET_SECONDS = 10.0
_TITLE_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay."""

    evidence: Evidence
    refusals: Sequence[TidingsError]
    """The refusals of lines, in their order."""


async def replay(cast: Cast, server: str, title: str, folder: Path, progress: ReportProgress) -> ReplayResult:
    """Replays a conversation.

    Args:
        cast: The conversation.
        server: HOST:PORT of the api.
        title: The title of the group.
        folder: An empty folder, for the devices' files.
        progress: Is called as the replay goes on.

    Raises:
        ReplayError: The replay cannot begin, or cannot go on.
    """
    parts = roles(len(cast.speakers))
    try:
        async with _signed_in(cast, parts, server, folder, progress) as devices, asyncio.TaskGroup() as group:
            for device in devices:
                group.create_task(device.run())
            result = await _converse(cast, parts, devices, title, progress)
            for device in devices:
                device.finish()
        return result
    except ExceptionGroup as errors:
        expected, bugs = errors.split((TidingsError, ReplayError))
        if expected is None or bugs is not None:
            raise
        raise _sentence(expected, server) from errors


@contextlib.asynccontextmanager
async def _signed_in(
    cast: Cast, parts: Sequence[DeviceRole], server: str, folder: Path, progress: ReportProgress
) -> AsyncIterator[list[ReplayDevice]]:
    """Signs in the devices, gives them in the order of their roles, and closes them at the end."""
    accounts = [SpeakerAccount(server, nick) for nick in cast.speakers]
    made: dict[int, ReplayDevice] = {}
    places = asyncio.Semaphore(_SIGN_UPS_AT_ONCE)

    async def sign_in(index: int) -> None:
        role = parts[index]
        data = folder / f"device-{index}.sqlite" if role.drops_out else None
        account = accounts[role.speaker]
        async with places:
            client: Tidings = await (account.log_in(data) if role.is_second else account.sign_up(data))
        made[index] = ReplayDevice(client, data=data, churn=Churn(random.Random()) if role.drops_out else None)
        progress("signing in", len(made), len(parts))

    try:
        for seconds in (False, True):
            async with asyncio.TaskGroup() as group:
                for index, role in enumerate(parts):
                    if role.is_second is seconds:
                        group.create_task(sign_in(index))
        yield [made[index] for index in range(len(parts))]
    finally:
        for device in made.values():
            await device.client.close()


async def _converse(
    cast: Cast, parts: Sequence[DeviceRole], devices: Sequence[ReplayDevice], title: str, progress: ReportProgress
) -> ReplayResult:
    """Has the devices hold the conversation in a group of their own, and gathers what the figures are counted from."""
    for number, device in enumerate(devices, 1):
        await device.until_live()
        progress("connecting", number, len(devices))
    # The first device never drops out, so its client can be used at any time.
    first = devices[0].client
    members = list(dict.fromkeys(device.client.user_id for device in devices))[1:]
    channel = await first.create_group(title[:_TITLE_CHARACTERS] or "Replay", members)
    started = time.monotonic()
    said, refusals = await _say_all(cast, parts, devices, channel.channel_id, progress)
    for device in devices:
        device.stay()
    await _settle(devices, channel.channel_id, said[-1].seq if said else channel.head_seq, progress)
    seconds = time.monotonic() - started
    evidence = Evidence(
        messages=len(cast.script),
        said=said,
        log=await history.log(first, channel.channel_id),
        screen=await history.screen(first, channel.channel_id),
        copies=[[entry for entry in device.seen if entry.channel_id == channel.channel_id] for device in devices],
        reconnects=sum(max(0, device.times_live - 1) for device in devices),
        seconds=seconds,
    )
    return ReplayResult(evidence, refusals)


async def _say_all(
    cast: Cast, parts: Sequence[DeviceRole], devices: Sequence[ReplayDevice], channel_id: str, progress: ReportProgress
) -> tuple[list[Said], list[TidingsError]]:
    """Says the lines one after the other, each when the one before has been accepted."""
    owned: list[list[int]] = [[] for _ in cast.speakers]
    for index, role in enumerate(parts):
        owned[role.speaker].append(index)
    lines = [0] * len(cast.speakers)
    said: list[Said] = []
    refusals: list[TidingsError] = []
    for number, part in enumerate(cast.script, 1):
        # A speaker with two devices uses them in turn.
        mine = owned[part.speaker]
        index = mine[lines[part.speaker] % len(mine)]
        lines[part.speaker] += 1
        name = new_client_message_id()
        try:
            async with asyncio.timeout(_LINE_SECONDS):
                accepted, wait = await devices[index].say(channel_id, part.text, name)
            said.append(Said(name, accepted.seq, index, wait))
        except TimeoutError:
            raise ReplayError(f"line {number} was not accepted within {_LINE_SECONDS:.0f} s") from None
        except TidingsError as error:
            refusals.append(error)
        progress("talking", number, len(cast.script))
    return said, refusals


async def _settle(devices: Sequence[ReplayDevice], channel_id: str, seq: int, progress: ReportProgress) -> None:
    """Waits until every device has received the last event, or nothing comes any more."""
    waiting = {asyncio.create_task(device.until_seen(channel_id, seq)) for device in devices}
    try:
        before = -1
        while waiting and before != (now := sum(len(device.seen) for device in devices)):
            before = now
            progress("catching up", len(devices) - len(waiting), len(devices))
            _, waiting = await asyncio.wait(waiting, timeout=_QUIET_SECONDS)
        progress("catching up", len(devices) - len(waiting), len(devices))
    finally:
        for task in waiting:
            task.cancel()


def _sentence(errors: ExceptionGroup[Exception], server: str) -> ReplayError:
    """Makes one sentence of several errors: of the first one."""
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TidingsError):
        if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return ReplayError(f"no server answers at {server}: {error}")
        return ReplayError(f"the server at {server} refuses: {error}")
    return error if isinstance(error, ReplayError) else ReplayError(str(error))
