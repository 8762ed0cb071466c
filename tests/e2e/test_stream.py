"""`ChatService.Converse` as any client sees it: bare stubs, no SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from tests.support.crowd import in_log
from tests.support.raw import CODES, Api, Device, Stream, details_of, end_of
from tidings.v1 import account_pb2, channel_pb2, chat_pb2, chat_pb2_grpc, history_pb2

pytestmark = pytest.mark.timeout(120)

COMPOSITIONS = ("embedded", "mesh")

Status = grpc.StatusCode


async def two(api: Api) -> tuple[Device, Device]:
    return await api.sign_up("ann"), await api.sign_up("bob")


async def test_a_message_goes_to_the_other_person_and_comes_back_from_history(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a, bob.stream() as b:
        result = await a.send(channel_id, "hello", "first")
        assert (result.accepted.seq, result.accepted.channel_id) == (1, channel_id)
        message = await b.next("message")
    assert (message.text, message.sender_id, message.seq) == ("hello", ann.user_id, 1)
    assert message.position == result.accepted.position
    assert message.created_at == result.accepted.created_at
    page = await api.history.ListMessages(history_pb2.ListMessagesRequest(channel_id=channel_id), metadata=bob.metadata)
    assert list(page.messages) == [message]


async def test_something_else_under_the_same_client_message_id_is_refused(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a:
        first = await a.send(channel_id, "once", "the-name")
        named: Any = {"client_message_id": "the-name", "channel_id": channel_id}
        for body, asked in (
            ("send_message", chat_pb2.SendMessage(text="twice", **named)),
            ("send_message", chat_pb2.SendMessage(text="once", reply_to_seq=1, **named)),
            ("edit_message", chat_pb2.EditMessage(text="once", seq=1, **named)),
        ):
            result = await a.ask(**{body: asked})
            assert CODES[result.error.code] == Status.ALREADY_EXISTS
            details = details_of(result.error)
            assert details.reason == "CLIENT_MESSAGE_ID_REUSED"
            assert details.info.metadata["first_seq"] == str(first.accepted.seq)
            assert details.fields == [f"{body}.client_message_id"]
        # Edited, and then deleted.
        await a.ask(edit_message=chat_pb2.EditMessage(channel_id=channel_id, seq=1, text="more"))
        assert (await a.send(channel_id, "once", "the-name")).accepted == first.accepted
        assert (await a.send(channel_id, "more", "the-name")).HasField("error")
        await a.ask(delete_message=chat_pb2.DeleteMessage(channel_id=channel_id, seq=1))
        assert (await a.send(channel_id, "more", "the-name")).accepted == first.accepted
    async with bob.stream() as b:
        assert (await b.send(channel_id, "mine", "the-name")).accepted.seq == 4


async def test_a_reply_names_a_message(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.group(bob)).channel_id

    async def answer(stream: Stream, seq: int) -> chat_pb2.CommandResult:
        message = chat_pb2.SendMessage(
            client_message_id=f"to {seq}", channel_id=channel_id, text="an answer", reply_to_seq=seq
        )
        return await stream.ask(send_message=message)

    async with ann.stream() as a:
        first = (await a.send(channel_id, "a question")).accepted.seq
        await a.ask(edit_message=chat_pb2.EditMessage(channel_id=channel_id, seq=first, text="another"))
        assert (await answer(a, first)).HasField("accepted")
        # The event that made the group, its title, an edit, what is not there yet, and what never can be.
        for seq in (1, 2, first + 1, first + 3, 2**63, 2**64 - 1):
            result = await answer(a, seq)
            assert CODES[result.error.code] == Status.INVALID_ARGUMENT
            assert details_of(result.error).fields == ["send_message.reply_to_seq"]


async def test_the_senders_other_devices_get_what_it_sent_and_what_it_read(api: Api) -> None:
    ann, bob = await two(api)
    phone = await api.log_in(ann.user.username)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a, phone.stream() as p, bob.stream() as b:
        await a.send(channel_id, "from my desk")
        assert (await p.next("message")).text == "from my desk"
        await b.send(channel_id, "an answer")
        assert (await p.next("message")).text == "an answer"
        await a.next("message")
        await a.ask(mark_read=chat_pb2.MarkRead(channel_id=channel_id, seq=2))
        while True:
            marks = {each.user_id: each for each in (await p.next("receipt")).members}
            if ann.user_id in marks and marks[ann.user_id].read_seq == 2:
                break


async def test_the_same_client_message_id_is_one_message(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a:
        first = await a.send(channel_id, "once", "the-name")
        again = await a.send(channel_id, "once", "the-name")
        assert again.accepted == first.accepted
    async with ann.stream() as a:
        assert (await a.send(channel_id, "once", "the-name")).accepted == first.accepted
        assert (await a.send(channel_id, "twice")).accepted.seq == 2


def kept(events: Iterable[chat_pb2.Event], have: dict[str, int]) -> list[chat_pb2.Event]:
    """The entries of logs that a client does not have yet: a replay may go back further than its cursor."""
    new = []
    for event in events:
        channel_id, seq = in_log(event) or ("", 0)
        if seq > have.get(channel_id, 0):
            have[channel_id] = seq
            new.append(event)
    return new


async def test_a_device_that_comes_back_gets_what_it_missed_and_nothing_else(api: Api) -> None:
    ann, bob = await two(api)
    group = await ann.group(bob)
    have: dict[str, int] = {}
    async with bob.stream() as b:
        assert kept(b.replayed, have)
        cursor = b.welcome.position
    async with ann.stream() as a:
        sent = (await a.send(group.channel_id, "one")).accepted
        await a.ask(edit_message=chat_pb2.EditMessage(channel_id=group.channel_id, seq=sent.seq, text="two"))
        await a.ask(delete_message=chat_pb2.DeleteMessage(channel_id=group.channel_id, seq=sent.seq))
    while True:
        async with bob.stream(cursor) as b:
            # In the mesh, copies reach the inbox a moment after the result; who comes sooner gets the rest live.
            if b.replayed and any(event.HasField("message_deleted") for event in b.replayed):
                break
    async with bob.stream(cursor) as b:
        missed = kept(b.replayed, have)
        assert [event.WhichOneof("body") for event in missed] == ["message", "message_edited", "message_deleted"]
        assert missed[0].message.text == missed[1].message_edited.text == ""
        cursor = b.welcome.position
    async with bob.stream(cursor) as b:
        assert not kept(b.replayed, have)


async def test_who_was_away_gets_the_last_text_of_a_message_not_all_its_edits(api: Api) -> None:
    ann, bob = await two(api)
    group = await ann.group(bob)
    async with bob.stream() as b:
        cursor = b.welcome.position
    async with ann.stream() as a:
        sent = (await a.send(group.channel_id, "first")).accepted
        for number in range(50):
            edit = chat_pb2.EditMessage(channel_id=group.channel_id, seq=sent.seq, text=f"edit {number}")
            last = (await a.ask(edit_message=edit)).accepted
    while True:
        async with bob.stream(cursor) as b:
            # In the mesh, copies reach the inbox a moment after the result; who comes sooner gets the rest live.
            if any(event.message_edited.seq == last.seq for event in b.replayed):
                break
    missed = kept(b.replayed, {group.channel_id: sent.seq - 1})
    assert [in_log(event) for event in missed] == [(group.channel_id, seq) for seq in range(sent.seq, last.seq + 1)]
    assert missed[0].message.text == "first"
    assert [event.message_edited.text for event in missed[1:] if event.message_edited.text] == ["edit 49"]


async def test_typing_reaches_the_others_and_is_never_replayed(api: Api) -> None:
    ann, bob = await two(api)
    group = await ann.group(bob)
    async with ann.stream() as a, bob.stream() as b:
        await a.ask(set_typing=chat_pb2.SetTyping(channel_id=group.channel_id, typing=True))
        typing = await b.next("typing")
        assert (typing.user_id, typing.channel_id, typing.typing) == (ann.user_id, group.channel_id, True)
    async with bob.stream() as b:
        assert not [event for event in b.replayed if event.HasField("typing")]


async def test_an_acknowledgement_moves_the_delivered_receipt(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a, bob.stream() as b:
        sent = (await a.send(channel_id, "did it arrive?")).accepted
        message = await b.next("message")
        await b.write(chat_pb2.Command(acknowledge=chat_pb2.Acknowledge(position=message.position)))
        receipt = await a.next("receipt")
        assert [(each.user_id, each.delivered_seq, each.read_seq) for each in receipt.members] == [
            (bob.user_id, sent.seq, 0)
        ]
        await b.ask(mark_read=chat_pb2.MarkRead(channel_id=channel_id, seq=sent.seq))
        receipt = await a.next("receipt")
        assert [(each.delivered_seq, each.read_seq) for each in receipt.members] == [(sent.seq, sent.seq)]


async def test_commands_in_one_frame_are_obeyed_in_order(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a, bob.stream() as b:
        await a.write(
            *(
                chat_pb2.Command(
                    command_id=100 + n,
                    send_message=chat_pb2.SendMessage(client_message_id=str(n), channel_id=channel_id, text=str(n)),
                )
                for n in range(256)
            )
        )
        results = [await a.next("command_result") for _ in range(256)]
        assert [each.command_id for each in results] == list(range(100, 356))
        assert [each.accepted.seq for each in results] == list(range(1, 257))
        assert [(await b.next("message")).text for _ in range(256)] == [str(n) for n in range(256)]


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * 100_000, "\N{GRINNING FACE}" * 100_000], ids=["ascii", "emoji"])
async def test_the_longest_text_arrives_whole(api: Api, text: str) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a, bob.stream() as b:
        assert (await a.send(channel_id, text)).accepted.seq == 1
        assert (await b.next("message")).text == text


@pytest.mark.parametrize(
    ("field", "limit", "value", "body"),
    [
        ("send_message.text", "100000", "100001", {"text": "x" * 100_001, "client_message_id": "1"}),
        ("send_message.text", "1", "0", {"text": "", "client_message_id": "1"}),
        ("send_message.client_message_id", "128", "129", {"text": "x", "client_message_id": "y" * 129}),
        ("send_message.client_message_id", "1", "0", {"text": "x", "client_message_id": ""}),
        ("send_message.reply_to_seq", "0", "7", {"text": "x", "client_message_id": "1", "reply_to_seq": 7}),
    ],
)
async def test_a_value_out_of_bounds_is_named_and_the_stream_goes_on(
    api: Api, field: str, limit: str, value: str, body: dict[str, Any]
) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with ann.stream() as a:
        error = (await a.ask(send_message=chat_pb2.SendMessage(channel_id=channel_id, **body))).error
        details = details_of(error)
        assert CODES[error.code] is Status.INVALID_ARGUMENT
        assert details.fields == [field]
        assert (details.info.metadata["limit"], details.info.metadata["actual"]) == (limit, value)
        assert (await a.send(channel_id, "still here")).accepted.seq == 1


async def test_what_one_may_not_see_is_not_there(api: Api) -> None:
    ann, bob = await two(api)
    eve = await api.sign_up("eve")
    channel_id = (await ann.direct(bob)).channel_id
    async with eve.stream() as e:
        refusals = [
            (await e.send("no-such-channel", "x")).error,
            (await e.send(channel_id, "x")).error,
            (await e.ask(mark_read=chat_pb2.MarkRead(channel_id=channel_id, seq=1))).error,
            (await e.ask(set_typing=chat_pb2.SetTyping(channel_id=channel_id, typing=True))).error,
        ]
        assert {CODES[each.code] for each in refusals} == {Status.NOT_FOUND}
        assert refusals[0] == refusals[1]


async def test_a_body_that_is_missing_or_out_of_place_is_refused(api: Api) -> None:
    ann = await api.sign_up()
    async with ann.stream() as a:
        assert CODES[(await a.ask()).error.code] is Status.INVALID_ARGUMENT
        assert CODES[(await a.ask(hello=chat_pb2.Hello())).error.code] is Status.FAILED_PRECONDITION


# --- what ends a stream -----------------------------------------------------------------------------------------------


async def raw_end(device: Device, *frames: bytes) -> tuple[grpc.StatusCode, str]:
    call: Any = device.chat_channel.stream_stream("/tidings.v1.ChatService/Converse")(metadata=device.metadata)
    for frame in frames:
        await call.write(frame)
    error = await end_of(call)
    return error.code(), details_of(error).reason


def frame(*commands: chat_pb2.Command) -> bytes:
    return chat_pb2.ConverseRequest(commands=commands).SerializeToString()


HELLO = frame(chat_pb2.Command(hello=chat_pb2.Hello()))


async def test_a_malformed_frame_ends_the_stream_and_no_other(api: Api) -> None:
    ann, bob = await two(api)
    channel_id = (await ann.direct(bob)).channel_id
    async with bob.stream() as b:
        assert await raw_end(ann, HELLO, b"\xff\xff\xff\xff") == (Status.INVALID_ARGUMENT, "MALFORMED_FRAME")
        assert await raw_end(ann, b"\x0a\xff") == (Status.INVALID_ARGUMENT, "MALFORMED_FRAME")
        assert (await b.send(channel_id, "unharmed")).accepted.seq == 1


async def test_the_first_command_must_be_hello(api: Api) -> None:
    ann = await api.sign_up()
    expected = (Status.FAILED_PRECONDITION, "HELLO_MISSING")
    assert await raw_end(ann, frame(chat_pb2.Command(mark_read=chat_pb2.MarkRead()))) == expected
    assert await raw_end(ann, frame()) == expected


async def test_a_cursor_from_the_future_is_out_of_range(api: Api) -> None:
    ann = await api.sign_up()
    hello = frame(chat_pb2.Command(hello=chat_pb2.Hello(cursor=1 << 62)))
    assert await raw_end(ann, hello) == (Status.OUT_OF_RANGE, "CURSOR_FROM_THE_FUTURE")


async def test_a_frame_over_one_mebibyte_ends_the_stream(api: Api) -> None:
    ann = await api.sign_up()
    call: Any = ann.chat_channel.stream_stream("/tidings.v1.ChatService/Converse")(metadata=ann.metadata)
    await call.write(HELLO)
    await call.write(b"\x0a" + b"\xff" * (1 << 20))
    assert (await end_of(call)).code() is Status.RESOURCE_EXHAUSTED


async def test_a_newer_stream_of_the_device_ends_the_older(api: Api) -> None:
    ann = await api.sign_up()
    async with ann.stream() as older, ann.stream() as newer:
        error = await end_of(older.call)
        assert (error.code(), details_of(error).reason) == (Status.ABORTED, "SESSION_REPLACED")
        assert (await newer.ask(mark_read=chat_pb2.MarkRead(channel_id="x", seq=1))).HasField("error")


async def test_a_revoked_devices_stream_ends_at_once_and_its_token_is_refused(api: Api) -> None:
    ann = await api.sign_up()
    phone = await api.log_in(ann.user.username)
    async with phone.stream() as stream:
        await api.accounts.RevokeDevice(
            account_pb2.RevokeDeviceRequest(device_id=phone.device_id), metadata=ann.metadata
        )
        error = await end_of(stream.call)
        assert (error.code(), details_of(error).reason) == (Status.UNAUTHENTICATED, "DEVICE_REVOKED")
    assert await raw_end(phone) == (Status.UNAUTHENTICATED, "DEVICE_REVOKED")


async def test_whoever_asks_again_for_the_tokens_of_an_attempt_gets_them_and_another_signs_the_device_out(
    api: Api,
) -> None:
    device = await api.sign_up()

    async def refreshed(attempt_id: str) -> account_pb2.Tokens:
        spent = device.tokens.refresh_token
        request = account_pb2.RefreshTokensRequest(refresh_token=spent, attempt_id=attempt_id)
        return (await api.accounts.RefreshTokens(request)).tokens

    lost = await refreshed("the attempt of the device")
    tokens = await refreshed("the attempt of the device")
    assert tokens.refresh_token == lost.refresh_token != device.tokens.refresh_token
    with pytest.raises(aio.AioRpcError) as refused:
        await refreshed("the attempt of somebody else")
    assert details_of(refused.value).reason == "REFRESH_TOKEN_REUSED"
    with pytest.raises(aio.AioRpcError) as ended:
        await api.accounts.RefreshTokens(account_pb2.RefreshTokensRequest(refresh_token=tokens.refresh_token))
    assert details_of(ended.value).reason == "REFRESH_TOKEN_INVALID"


async def test_logging_out_ends_the_stream(api: Api) -> None:
    ann = await api.sign_up()
    async with ann.stream() as stream:
        await api.accounts.LogOut(account_pb2.LogOutRequest(), metadata=ann.metadata)
        assert (await end_of(stream.call)).code() is Status.UNAUTHENTICATED


async def test_tokens_that_are_not_ours_are_refused(api: Api) -> None:
    ann = await api.sign_up()
    claims = jwt.decode(ann.tokens.access_token, options={"verify_signature": False})
    header = jwt.get_unverified_header(ann.tokens.access_token)
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": header["kid"]})
    # With the public key's name as the secret of another algorithm.
    confused = jwt.encode(claims, header["kid"] * 4, algorithm="HS256", headers={"kid": header["kid"]})
    for token in (forged, unsigned, confused, "nonsense", ann.tokens.access_token[:-8] + "AAAAAAAA"):
        ann.tokens.access_token = token
        assert await raw_end(ann) == (Status.UNAUTHENTICATED, "TOKEN_INVALID"), token
    call = chat_pb2_grpc.ChatServiceStub(ann.chat_channel).Converse()
    error = await end_of(call)
    assert (error.code(), details_of(error).reason) == (Status.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_reauthenticate_takes_only_a_token_of_the_same_device(api: Api) -> None:
    ann, bob = await two(api)
    async with ann.stream() as a:
        mine = chat_pb2.Reauthenticate(access_token=ann.tokens.access_token)
        assert (await a.ask(reauthenticate=mine)).HasField("accepted")
        theirs = chat_pb2.Reauthenticate(access_token=bob.tokens.access_token)
        assert CODES[(await a.ask(reauthenticate=theirs)).error.code] is Status.PERMISSION_DENIED
        bad = chat_pb2.Reauthenticate(access_token="nonsense")
        assert CODES[(await a.ask(reauthenticate=bad)).error.code] is Status.UNAUTHENTICATED


# --- members ----------------------------------------------------------------------------------------------------------


async def test_a_removed_member_sees_the_removal_last_and_keeps_what_they_saw(api: Api) -> None:
    ann, bob = await two(api)
    group = await ann.group(bob)
    async with ann.stream() as a, bob.stream() as b:
        seen = (await a.send(group.channel_id, "before")).accepted
        await api.channels.RemoveMember(
            channel_pb2.RemoveMemberRequest(channel_id=group.channel_id, user_id=bob.user_id), metadata=ann.metadata
        )
        await a.send(group.channel_id, "after")
        removal = await b.next("membership_changed")
        assert removal.seq == seen.seq + 1
        assert CODES[(await b.send(group.channel_id, "x")).error.code] is Status.NOT_FOUND
        page = await api.history.ListMessages(
            history_pb2.ListMessagesRequest(channel_id=group.channel_id), metadata=bob.metadata
        )
        assert [each.text for each in page.messages] == ["before"]
    async with bob.stream() as b:
        assert b.replayed[-1].membership_changed == removal


async def test_a_new_member_sees_nothing_from_before(api: Api) -> None:
    ann, bob = await two(api)
    group = await ann.group()
    async with ann.stream() as a:
        await a.send(group.channel_id, "a secret")
        answer = await api.channels.AddMembers(
            channel_pb2.AddMembersRequest(channel_id=group.channel_id, member_ids=[bob.user_id]), metadata=ann.metadata
        )
        await a.send(group.channel_id, "welcome")
    async with bob.stream() as b:
        events = [event for event in b.replayed if event.position]
        async with asyncio.timeout(10):
            while len(events) < 2:
                # In the mesh, what was accepted a moment ago may not be in the inbox yet: it comes behind the replay.
                if (event := await b.event()).position:
                    events.append(event)
        assert [event.WhichOneof("body") for event in events] == ["membership_changed", "message"]
        assert events[0].membership_changed.seq == answer.channel.head_seq
        assert events[1].message.text == "welcome"


async def test_simultaneous_adds_never_pass_a_hundred(api: Api) -> None:
    people = await asyncio.gather(*(api.sign_up("many") for _ in range(120)))
    owner = people[0]
    group = await owner.group(*people[1:81])

    async def add(device: Device) -> bool:
        request = channel_pb2.AddMembersRequest(channel_id=group.channel_id, member_ids=[device.user_id])
        try:
            await api.channels.AddMembers(request, metadata=owner.metadata)
        except grpc.aio.AioRpcError as error:
            assert error.code() is Status.FAILED_PRECONDITION
            assert details_of(error).info.metadata["limit"] == "100"
            return False
        return True

    assert sum(await asyncio.gather(*(add(each) for each in people[81:]))) == 19
    found = await api.channels.GetChannel(
        channel_pb2.GetChannelRequest(channel_id=group.channel_id), metadata=owner.metadata
    )
    assert len(found.channel.members) == 100
