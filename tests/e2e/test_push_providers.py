"""A server and the three providers: from a message to the devices, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import Completed, ServerProcess, run_tidings
from tests.support.providers.apns import refusal
from tests.support.providers.fcm import error
from tests.support.providers.site import Site, site
from tests.support.raw import Api, Device
from tests.support.settings import CHEAP_SIGN_UPS
from tests.support.waiting import eventually
from tidings.v1 import chat_pb2, push_pb2

IPHONE = "00ff" * 16


@dataclass
class World:
    site: Site
    server: ServerProcess
    api: Api
    ann: Device
    bob: Device
    metrics_url: str

    async def commands(self, *arguments: str) -> tuple[int, str]:
        """`tidings push dead-letters …`, beside the running server: its exit code, and what it says."""
        ended = await run_tidings("push", "dead-letters", *arguments, "--data", self.server.data)
        return ended.code, ended.out + ended.err

    async def metrics(self) -> str:
        def read() -> str:
            with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(read)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
async def world(tmp_path: Path, folder: Path) -> AsyncIterator[World]:
    metrics = f"127.0.0.1:{_free_port()}"
    async with site(tmp_path) as providers:
        config = f'push_delay_seconds = 0.5\nmetrics_listen = "{metrics}"\n{providers.config}{CHEAP_SIGN_UPS}'
        async with ServerProcess(folder, config=config) as server:
            api = Api(server.endpoint)
            ann, bob = await api.sign_up("ann"), await api.sign_up("bob")
            yield World(providers, server, api, ann, bob, f"http://{metrics}/metrics")
            await api.close()


async def register(
    device: Device,
    provider: push_pb2.PushProvider,
    token: str,
    preview: push_pb2.PushPreview = push_pb2.PUSH_PREVIEW_FULL,
) -> None:
    request = push_pb2.RegisterPushTokenRequest(provider=provider, token=token, preview=preview)
    await device.api.pushes.RegisterPushToken(request, metadata=device.metadata)


async def test_all_devices_are_woken_and_when_one_has_read_the_others_know(world: World) -> None:
    site, bob = world.site, world.bob
    iphone, browser = [await world.api.log_in(bob.user.username) for _ in range(2)]
    await register(bob, push_pb2.PUSH_PROVIDER_FCM, "registration-token", push_pb2.PUSH_PREVIEW_NONE)
    await register(iphone, push_pb2.PUSH_PROVIDER_APNS, IPHONE)
    await register(
        browser, push_pb2.PUSH_PROVIDER_WEB_PUSH, site.web_push.subscribe("b1"), push_pb2.PUSH_PREVIEW_SENDER
    )
    channel = await world.ann.direct(bob)
    async with world.ann.stream() as a:
        sent = await a.send(channel.channel_id, "the words")

        async def have_arrived() -> bool:
            return bool(site.fcm.messages and site.apns.pushes and site.web_push.pushes)

        await eventually(have_arrived)
        async with bob.stream() as b:
            read = chat_pb2.MarkRead(channel_id=channel.channel_id, seq=sent.accepted.seq)
            assert (await b.ask(mark_read=read)).HasField("accepted")

            async def are_told() -> bool:
                return len(site.fcm.messages) == 2 and len(site.apns.pushes) == 2

            await eventually(are_told)
    name = world.ann.user.display_name or world.ann.user.username
    shown, silent = site.fcm.messages
    assert shown["notification"] == {"body": "New message"}
    seq = str(sent.accepted.seq)
    assert silent["data"] == {"type": "read", "channel_id": channel.channel_id, "seq": seq, "unread": "0"}
    (_, _, alert), (_, _, badge) = site.apns.pushes
    assert alert["aps"]["alert"] == {"title": name, "body": "the words"}
    assert (alert["aps"]["badge"], badge["aps"]["badge"]) == (1, 0)
    ((_, _, payload),) = site.web_push.pushes
    assert (payload["title"], payload["body"]) == (name, "New message")
    code, log = await world.server.terminate()
    assert code == 0, log
    for secret in ("the words", "registration-token", IPHONE, "/browser/b1"):
        assert secret not in log


async def test_a_token_is_forgotten_at_the_first_report(world: World) -> None:
    site, bob = world.site, world.bob
    await register(bob, push_pb2.PUSH_PROVIDER_APNS, IPHONE)
    site.apns.script.append(refusal(410, "Unregistered"))
    channel = await world.ann.direct(bob)
    async with world.ann.stream() as a:
        await a.send(channel.channel_id, "one")

        async def is_reported() -> bool:
            return 'tidings_push_failed_total{provider="APNS",reason="unregistered"} 1.0' in await world.metrics()

        await eventually(is_reported)
        await a.send(channel.channel_id, "two")
        phone = await world.api.log_in(bob.user.username)
        await register(phone, push_pb2.PUSH_PROVIDER_FCM, "other")
        await a.send(channel.channel_id, "three")

        async def has_arrived() -> bool:
            return bool(site.fcm.messages)

        await eventually(has_arrived)
    assert site.apns.pushes == []


async def test_an_operator_sees_requeues_and_drops_what_was_given_up_while_the_server_runs(world: World) -> None:
    site, bob = world.site, world.bob
    await register(bob, push_pb2.PUSH_PROVIDER_FCM, "registration-token")
    site.fcm.always = error(400, "INVALID_ARGUMENT")
    channels = [(await world.ann.group(bob, title=title)).channel_id for title in ("g1", "g2")]
    async with world.ann.stream() as a:
        for channel_id in channels:
            assert (await a.send(channel_id, "the words")).HasField("accepted")

        async def are_given_up() -> bool:
            return len((await world.commands("list", "--json"))[1].splitlines()) == 2

        await eventually(are_given_up)
    code, listed = await world.commands("list", "--json")
    letters = [json.loads(line) for line in listed.splitlines()]
    assert code == 0
    assert {each["channel_id"] for each in letters} == set(channels)
    assert {(each["provider"], each["reason"], each["attempts"]) for each in letters} == {
        ("FCM", "invalid_argument", 1)
    }
    code, table = await world.commands("list")
    assert (code, "2 of 2" in table, "the words" in table + listed) == (0, True, False)
    site.fcm.always = None
    assert await world.commands("replay", str(letters[0]["id"])) == (0, "replayed: 1\n")

    async def has_arrived() -> bool:
        return [each["data"]["channel_id"] for each in site.fcm.messages] == [letters[0]["channel_id"]]

    await eventually(has_arrived)
    assert await world.commands("replay", "4711") == (1, "replayed: 0\ntidings: no dead letter 4711\n")
    assert await world.commands("drop", "--all") == (0, "dropped: 1\n")
    assert await world.commands("list", "--json") == (0, "")
    assert await world.commands("drop") == (1, "tidings: name some ids, or --all\n")


async def test_metrics_tell_how_the_server_fares(world: World) -> None:
    await register(world.bob, push_pb2.PUSH_PROVIDER_FCM, "registration-token")
    channel = await world.ann.direct(world.bob)
    async with world.ann.stream() as a:
        await a.send(channel.channel_id, "one")

        async def is_sent() -> bool:
            return 'tidings_push_sent_total{provider="FCM"} 1.0' in await world.metrics()

        await eventually(is_sent)
        found = await world.metrics()
    for line in (
        "tidings_sessions 1.0",
        "tidings_channels 1.0",
        "tidings_messages_accepted_total 1.0",
        'tidings_push_queued_total{provider="FCM"} 1.0',
        "tidings_push_oldest_waiting_seconds 0.0",
    ):
        assert line in found.splitlines()
    assert "process_resident_memory_bytes" in found


async def test_dead_letters_of_no_server(folder: Path) -> None:
    ended = await run_tidings("push", "dead-letters", "list", "--data", folder)
    assert ended == Completed(1, "", f"tidings: there is no database in {folder}\n")


async def test_a_key_for_browsers_is_made_once(tmp_path: Path) -> None:
    outputs = []
    for _ in range(2):
        ended = await run_tidings("push", "vapid-key", tmp_path / "vapid.pem")
        assert ended.code == 0
        outputs.append(ended.out.strip())
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 87
    assert (tmp_path / "vapid.pem").stat().st_mode & 0o077 == 0


async def test_a_key_that_is_missing_is_one_sentence_at_the_start(folder: Path) -> None:
    config = '[push.web_push]\nkey = "nowhere.pem"\ncontact = "mailto:ops@example.org"\n'
    with pytest.raises(AssertionError) as refused:
        await ServerProcess(folder, config=config).start()
    assert str(refused.value) == (
        "the server did not start: tidings: push.web_push.key: nowhere.pem cannot be read: No such file or directory\n"
    )
