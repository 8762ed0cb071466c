"""Channels across servers: links, sequencers, routes. One storage, many servers; the engines come in tests/faults."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from chat_server.channels.local import LocalChannels
from tests.support.mesh import Mesh, little_mesh
from tests.support.raw import CODES, details_of, end_of
from tidings.core.actions import AddMembers, CreateChannel, Leave
from tidings.core.errors import Code, Refusal
from tidings.core.values import ChannelKind, ServerKind
from tidings.internal.v1 import peer_pb2, peer_pb2_grpc
from tidings.v1 import chat_pb2


async def group(mesh: Mesh, channel_id: str, *members: str) -> None:
    await mesh.router.submit(channel_id, members[0], CreateChannel(ChannelKind.GROUP, "a group", members[1:]))


async def test_two_people_on_different_servers_with_the_sequencer_on_a_third(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            result = await a.send(channel_id, "across", "first")
            message = await b.next("message")
            assert (message.seq, message.position) == (result.accepted.seq, result.accepted.position)
            answer = await b.send(channel_id, "and back")
            assert (await a.next("message")).seq == answer.accepted.seq == message.seq + 1
            assert (await a.send(channel_id, "across", "first")).accepted == result.accepted


async def test_results_and_events_come_in_the_order_of_the_log(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            for stream in (a, b):
                await stream.write(
                    *(
                        chat_pb2.Command(
                            command_id=n,
                            send_message=chat_pb2.SendMessage(
                                client_message_id=str(n), channel_id=channel_id, text="x"
                            ),
                        )
                        for n in range(1, 201)
                    )
                )

            async def seqs(stream: object) -> list[int]:
                found: list[int] = []
                while len(found) < 400:
                    event = await stream.event()  # type: ignore[attr-defined]
                    if event.HasField("message"):
                        found.append(event.message.seq)
                    elif event.HasField("command_result"):
                        found.append(event.command_result.accepted.seq)
                return found

            for found in await asyncio.gather(seqs(a), seqs(b)):
                assert found == list(range(3, 403))


async def test_receipts_and_typing_cross_servers(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            sent = (await a.send(channel_id, "did it arrive?")).accepted
            message = await b.next("message")
            await b.write(chat_pb2.Command(acknowledge=chat_pb2.Acknowledge(position=message.position)))
            receipt = await a.next("receipt")
            assert [(each.user_id, each.delivered_seq) for each in receipt.members] == [("bob", sent.seq)]
            await b.ask(mark_read=chat_pb2.MarkRead(channel_id=channel_id, seq=sent.seq))
            assert (await a.next("receipt")).members[0].read_seq == sent.seq
            await b.write(chat_pb2.Command(set_typing=chat_pb2.SetTyping(channel_id=channel_id, typing=True)))
            assert (await a.next("typing")).user_id == "bob"


async def test_a_newer_stream_on_another_server_ends_the_older(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, _ = mesh.nodes
        async with mesh.device(here, "ann").stream() as older, mesh.device(there, "ann").stream() as newer:
            error = await end_of(older.call)
            assert (error.code().name, details_of(error).reason) == ("ABORTED", "SESSION_REPLACED")
            assert (await newer.ask()).HasField("error")


async def test_who_is_no_member_shows_no_typing(folder: Path) -> None:
    async with little_mesh(folder, 2) as mesh:
        here, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann")
        async with mesh.device(here, "eve").stream() as e:
            result = await e.ask(set_typing=chat_pb2.SetTyping(channel_id=channel_id, typing=True))
            assert CODES[result.error.code].name == "NOT_FOUND"


async def test_a_no_from_the_sequencer_names_the_field(folder: Path) -> None:
    async with little_mesh(folder, 2) as mesh:
        here, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann")
        async with mesh.device(here, "eve").stream() as e:
            error = (await e.send(channel_id, "x")).error
            assert CODES[error.code].name == "NOT_FOUND"
        with pytest.raises(Refusal) as full:
            await mesh.router.submit(channel_id, "ann", AddMembers(tuple(f"u{n}" for n in range(100))))
        assert full.value.code is Code.FAILED_PRECONDITION
        assert full.value.metadata["limit"] == "100"
        await mesh.router.submit(channel_id, "ann", Leave())


async def test_the_sequencer_vanishes_and_another_goes_on(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            first = (await a.send(channel_id, "before", "1")).accepted
            assert (await b.next("message")).seq == first.seq
            await sequencer.vanish()
            refused = (await a.send(channel_id, "meanwhile", "2")).error
            assert CODES[refused.code].name == "UNAVAILABLE"
            await mesh.registry.unregister(sequencer.server_id, ServerKind.CHAT)
            again = (await a.send(channel_id, "meanwhile", "2")).accepted
            assert again.seq == first.seq + 1
            # What may have been left undone is handed out again: a client drops what it has, by seq.
            while (await b.next("message")).seq < again.seq:
                pass
            assert (await a.send(channel_id, "before", "1")).accepted == first
            refused = (await a.send(channel_id, "something else", "1")).error
            assert CODES[refused.code].name == "ALREADY_EXISTS"
            assert details_of(refused).info.metadata["first_seq"] == str(first.seq)


async def test_a_server_that_drains_hands_over_without_an_error(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            last = (await a.send(channel_id, "before")).accepted.seq
            await sequencer.leave()
            for n in range(20):
                last += 1
                assert (await a.send(channel_id, f"after {n}")).accepted.seq == last
            while (await b.next("message")).seq < last:
                pass


async def test_routes_that_were_wiped_lose_no_event(folder: Path) -> None:
    async with little_mesh(folder, 3) as mesh:
        here, there, sequencer = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        async with mesh.device(here, "ann").stream() as a, mesh.device(there, "bob").stream() as b:
            first = (await a.send(channel_id, "0")).accepted.seq
            mesh.routes.wipe()
            for n in range(1, 50):
                await a.send(channel_id, str(n))
            assert [(await b.next("message")).seq for _ in range(50)] == list(range(first, first + 50))


async def test_what_another_server_asks_is_checked_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 2**64 - 1
    noted: list[tuple[str, str]] = []
    monkeypatch.setattr(
        LocalChannels, "received", lambda _, channel_id, user_id, seq: noted.append((channel_id, user_id))
    )
    async with little_mesh(folder, 1) as mesh:
        (sequencer,) = mesh.nodes
        channel_id = mesh.channel_of(sequencer)
        await group(mesh, channel_id, "ann", "bob")
        typical: dict[str, Any] = {"channel_id": channel_id, "actor_id": "ann"}
        asked: list[tuple[dict[str, Any], str, str]] = [
            ({"channel_id": "a\0", "leave_group": {}}, "INVALID_ARGUMENT", "channel_id"),
            ({"channel_id": "", "leave_group": {}}, "INVALID_ARGUMENT", "channel_id"),
            ({"actor_id": "", "leave_group": {}}, "INVALID_ARGUMENT", "actor_id"),
            ({"create_channel": {"kind": 2, "member_ids": ["bob", "\0"]}}, "INVALID_ARGUMENT", "member_ids"),
            ({"add_members": {"member_ids": [" "]}}, "INVALID_ARGUMENT", "member_ids"),
            ({"delete_message": {"seq": largest}}, "NOT_FOUND", "delete_message.seq"),
            ({"mark_read": {"seq": largest}}, "INVALID_ARGUMENT", "mark_read.seq"),
            (
                {"send_message": {"client_message_id": "1", "text": "x", "reply_to_seq": largest}},
                "INVALID_ARGUMENT",
                "send_message.reply_to_seq",
            ),
        ]
        requests = [
            peer_pb2.PeerRequest(channel_request=peer_pb2.ChannelRequest(request_id=number, **{**typical, **what}))
            for number, (what, _, _) in enumerate(asked, 1)
        ]
        async with aio.insecure_channel(sequencer.internal) as channel:
            link: Any = peer_pb2_grpc.PeerServiceStub(channel).Link
            call = link()
            received = [
                peer_pb2.PeerRequest(received=peer_pb2.Received(channel_id=each, user_id=user_id, seq=largest))
                for each, user_id in (
                    (channel_id, "ann"),
                    ("", "ann"),
                    ("y" * 100_000, "ann"),
                    ("g\0", "ann"),
                    ("gone", ""),
                )
            ]
            await call.write(
                peer_pb2.LinkRequest(
                    requests=[
                        peer_pb2.PeerRequest(open=peer_pb2.Open(confirmed=largest, epoch="\0")),
                        peer_pb2.PeerRequest(confirm=peer_pb2.Confirm(number=largest)),
                        *received,
                        peer_pb2.PeerRequest(),
                        *requests,
                    ]
                )
            )
            results: dict[int, Any] = {}
            while len(results) < len(asked):
                for response in (await call.read()).responses:
                    if response.HasField("channel_result"):
                        results[response.channel_result.request_id] = response.channel_result.error
            # What names no channel or nobody is not looked up.
            assert noted == [(channel_id, "ann")]
            for number, (_, code, field) in enumerate(asked, 1):
                assert CODES[results[number].code].name == code, (asked[number - 1], results[number])
                assert details_of(results[number]).fields == [field]
            call.cancel()
            refused = link()
            await refused.write(
                peer_pb2.LinkRequest(requests=[peer_pb2.PeerRequest(open=peer_pb2.Open(server_id="n\0"))])
            )
            assert (await end_of(refused)).code().name == "INVALID_ARGUMENT"
