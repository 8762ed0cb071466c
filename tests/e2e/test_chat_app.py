"""`tidings chat` against a real server, driven by keys as a person drives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import typer
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static
from typer.testing import CliRunner

from tests.support.processes import ServerProcess
from tests.support.sdk_fake import Backend, serve
from tests.support.settings import CHEAP_SIGN_UPS
from tidings.v1 import channel_pb2, chat_pb2
from tidings_chat.accounts import RememberedAccounts
from tidings_chat.app import ChatApp
from tidings_chat.channels import ChatChannel
from tidings_chat.cli import CannotStartError, chat, prepare
from tidings_chat.loading import PAGE
from tidings_chat.rows import ChatMessageRow, Mark, NewRow, NoticeRow
from tidings_chat.screens.chat import ChatScreen
from tidings_chat.screens.dialogs import ConfirmDialog, PeopleDialog, TextDialog, TextScreen
from tidings_chat.screens.sign_in import SignInScreen
from tidings_chat.session import ChatSession
from tidings_chat.widgets.composer import Composer
from tidings_chat.widgets.message_pane import MessagePane
from tidings_chat.widgets.sidebar import SidebarLine, lines
from tidings_client import Connection, Status, Tidings, TidingsError

PASSWORD = "correct horse"
SECONDS = 20.0


class TerminalUser:
    """Somebody in front of a terminal."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], bool]) -> None:
        """Lets the application work until something is so."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Types into what has the focus."""
        await self.pilot.press(*("space" if letter == " " else letter for letter in text))

    async def say(self, text: str) -> None:
        """Writes into the composer and presses Enter."""
        self.composer.put(text)
        await self.press("enter")

    async def sign_up(self, username: str) -> None:
        self.app.screen.query_one("#username", Input).value = username
        self.app.screen.query_one("#password", Input).value = PASSWORD
        await self.press("ctrl+s")
        await self.until_live()

    async def until_live(self) -> None:
        await self.until(
            lambda: (
                isinstance(self.app.screen, ChatScreen)
                and self.session.status is Status.LIVE
                and self.session.chats.is_loaded
            )
        )

    async def until_shown(self, text: str) -> ChatMessageRow:
        """Waits until a message is on the screen."""
        await self.until(lambda: text in self.texts)
        return self.row(text)

    async def open(self, channel_id: str) -> ChatChannel:
        await self.until(lambda: channel_id in self.session.chats.channels)
        channel = self.session.chats.channels[channel_id]
        self.screen.open_channel(channel)
        await self.until(lambda: channel.timeline.is_loaded)
        return channel

    @property
    def session(self) -> ChatSession:
        assert self.app.session is not None
        return self.app.session

    @property
    def current(self) -> ChatChannel:
        assert self.session.chats.current is not None
        return self.session.chats.current

    @property
    def screen(self) -> ChatScreen:
        return next(screen for screen in self.app.screen_stack if isinstance(screen, ChatScreen))

    @property
    def composer(self) -> Composer:
        return self.screen.query_one(Composer)

    @property
    def pane(self) -> MessagePane:
        return self.screen.query_one(MessagePane)

    @property
    def messages(self) -> list[ChatMessageRow]:
        return [row for row in self.pane.rows if isinstance(row, ChatMessageRow)]

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.messages]

    @property
    def notices(self) -> list[str]:
        return [row.text for row in self.pane.rows if isinstance(row, NoticeRow)]

    @property
    def sidebar(self) -> list[SidebarLine]:
        return lines(self.session.chats, self.session.chats.current)

    @property
    def said(self) -> list[str]:
        """What the application has told beside the conversation."""
        return [notification.message for notification in self.app._notifications]

    def row(self, text: str) -> ChatMessageRow:
        return next(row for row in self.messages if row.text == text)

    def words(self, selector: str) -> str:
        """What a part of the screen says."""
        return str(self.app.screen.query_one(selector, Static).visual)


@contextlib.asynccontextmanager
async def terminal(accounts: RememberedAccounts, endpoint: str = "", user: str = "") -> AsyncIterator[TerminalUser]:
    """`tidings chat` in a terminal of 100 by 30."""
    app = await prepare(accounts, endpoint, user, None)
    async with app.run_test(size=(100, 30)) as pilot:
        yield TerminalUser(app, pilot)


class Friend:
    """Somebody who uses the SDK; everything that reaches them is received and nothing is marked as read."""

    def __init__(self, client: Tidings, connection: Connection) -> None:
        self.client = client
        self.connection = connection
        self.typing: list[bool] = []
        self.read: dict[str, int] = {}

    @property
    def user_id(self) -> str:
        return self.client.user_id

    async def receive(self) -> None:
        async for event in self.connection:
            if event.HasField("typing"):
                self.typing.append(event.typing.typing)
            for member in event.receipt.members:
                self.read[member.user_id] = member.read_seq


@contextlib.asynccontextmanager
async def friend(endpoint: str, username: str) -> AsyncIterator[Friend]:
    client = await Tidings.sign_up(endpoint, username, PASSWORD, display_name=username.capitalize())
    async with client, client.connect() as connection, client.presence():
        made = Friend(client, connection)
        receiving = asyncio.create_task(made.receive())
        try:
            await connection.until_live()
            yield made
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


@pytest.fixture
def accounts(tmp_path: Path) -> RememberedAccounts:
    return RememberedAccounts(tmp_path / "accounts")


async def test_a_person_signs_up_and_is_remembered(endpoint: str, accounts: RememberedAccounts) -> None:
    async with terminal(accounts, endpoint) as ana:
        ana.app.screen.query_one("#username", Input).value = "signs.up"
        ana.app.screen.query_one("#password", Input).value = "short"
        await ana.press("ctrl+s")
        await ana.until(lambda: "password" in ana.words("#message") and "8" in ana.words("#message"))
        assert accounts.remembered() == []
        await ana.sign_up("signs.up")
        user_id = ana.session.chats.me
    async with terminal(accounts) as ana:
        await ana.until_live()
        assert ana.session.chats.me == user_id
        # The file is this process's alone: a second terminal is for somebody else.
        async with terminal(accounts) as other:
            assert isinstance(other.app.screen, SignInScreen)
            assert "signs.up is open in another terminal" in other.words("#message")
        with pytest.raises(CannotStartError, match="open in another process"):
            await prepare(accounts, "", "signs.up", None)


async def test_a_wrong_password_is_told_and_the_right_one_signs_in(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "wrong.password"), terminal(accounts, endpoint) as ana:
        ana.app.screen.query_one("#username", Input).value = "wrong.password"
        ana.app.screen.query_one("#password", Input).focus().value = "not the one"
        await ana.press("enter")
        await ana.until(lambda: "password" in ana.words("#message"))
        assert ana.app.session is None
        ana.app.screen.query_one("#password", Input).value = PASSWORD
        await ana.press("enter")
        await ana.until_live()


async def test_two_people_talk(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "talk.ben") as ben, terminal(accounts, endpoint) as ana:
        await ana.sign_up("talk.ana")
        await ana.press("ctrl+n")
        await ana.until(lambda: isinstance(ana.app.screen, PeopleDialog))
        await ana.type("talk.b")
        await ana.until(lambda: ana.app.screen.query_one("#found", OptionList).option_count == 1)
        await ana.press("enter")
        await ana.until(lambda: ana.session.chats.current is not None)
        channel = ana.current
        assert channel.peer == ben.user_id

        await ana.type("Hello Ben")
        await ana.until(lambda: True in ben.typing)
        await ana.press("enter")
        await ana.until(lambda: ana.row("Hello Ben").mark is Mark.DELIVERED)
        await ana.until(lambda: ben.typing[-1] is False)
        await ben.connection.mark_read(channel.channel_id, ana.row("Hello Ben").seq)
        await ana.until(lambda: ana.row("Hello Ben").mark is Mark.READ)

        await ben.connection.set_typing(channel.channel_id)
        await ana.until(lambda: "Talk.ben is typing" in ana.words("#typing"))
        answer = await ben.connection.send(channel.channel_id, "Hello Ana", ana.row("Hello Ben").seq)
        assert (await ana.until_shown("Hello Ana")).quote == "You: Hello Ben"
        await ana.until(lambda: "typing" not in ana.words("#typing"))
        # It is on the screen, so it is read.
        await ana.until(lambda: ben.read.get(ana.session.chats.me) == answer.seq)
        await ana.until(lambda: "online" in ana.words("#title"))


async def test_a_search_that_is_answered_after_its_dialog_is_gone_shows_nothing(accounts: RememberedAccounts) -> None:
    backend = Backend()
    async with serve(backend) as (endpoint, _), terminal(accounts, endpoint) as ana:
        await ana.sign_up("ana")
        await ana.press("ctrl+n")
        await ana.until(lambda: isinstance(ana.app.screen, PeopleDialog))
        dialog = ana.app.screen
        assert isinstance(dialog, PeopleDialog)
        await ana.press("escape")
        await ana.until(lambda: not dialog.is_running)
        # This backend knows no searches, so it is a refusal that would be shown.
        await dialog._search("b")


async def test_unread_messages_are_counted_until_they_are_looked_at(
    endpoint: str, accounts: RememberedAccounts
) -> None:
    async with (
        friend(endpoint, "unread.ben") as ben,
        friend(endpoint, "unread.cid") as cid,
        terminal(accounts, endpoint) as ana,
    ):
        await ana.sign_up("unread.ana")
        first = await ben.client.open_direct_channel(ana.session.chats.me)
        second = await cid.client.open_direct_channel(ana.session.chats.me)
        await ben.connection.send(first.channel_id, "one")
        await ana.until_shown("one")
        for text in ("two", "three"):
            await cid.connection.send(second.channel_id, text)
        await ana.until(
            lambda: [(line.name, line.count) for line in ana.sidebar] == [("Unread.cid", "2"), ("Unread.ben", "")]
        )
        await ana.until(lambda: "2 unread" in ana.words("#status"))
        await ana.press("alt+up")
        await ana.until_shown("three")
        assert any(isinstance(row, NewRow) for row in ana.pane.rows) is False
        await ana.until(lambda: [line.count for line in ana.sidebar] == ["", ""])
        await ana.until(lambda: cid.read.get(ana.session.chats.me) == 2)
        # Away from the terminal nothing is read, and what comes stands below a line.
        ana.app.app_focus = False
        await cid.connection.send(second.channel_id, "four")
        await ana.until_shown("four")
        await ana.until(lambda: any(isinstance(row, NewRow) for row in ana.pane.rows))
        assert ana.current.unread == 1
        ana.app.app_focus = True
        await ana.until(lambda: ana.current.unread == 0)


async def test_messages_are_edited_answered_and_deleted_by_keys(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "keys.ben") as ben, terminal(accounts, endpoint) as ana:
        await ana.sign_up("keys.ana")
        await ana.say("/new keys.ben")
        await ana.until(lambda: ana.session.chats.current is not None)
        channel = ana.current
        await ana.say("tpyo")
        await ana.until(lambda: ana.row("tpyo").seq > 0)
        await ana.press("escape", "e")
        await ana.until(lambda: ana.composer.text == "tpyo")
        await ana.say("typo")
        assert (await ana.until_shown("typo")).edited

        await ben.connection.send(channel.channel_id, "What?")
        await ana.until_shown("What?")
        await ana.press("escape", "r")
        await ana.until(lambda: "answering Keys.ben: What?" in ana.words("#banner"))
        await ana.say("Nothing")
        await ana.until(lambda: ana.row("Nothing").quote == "Keys.ben: What?")

        await ana.until(lambda: ana.row("Nothing").seq > 0)
        await ana.say("/delete")
        await ana.until(lambda: isinstance(ana.app.screen, ConfirmDialog))
        await ana.press("y")
        await ana.until(lambda: ana.messages[-1].deleted)
        # One's own alone: the refusal is in words, and nothing happened.
        await ana.press("escape", "up", "e")
        await ana.until(lambda: "only its author can change a message" in ana.said)
        log = await ben.client.list_messages(channel.channel_id)
        assert [(message.text, message.deleted) for message in log] == [("typo", False), ("What?", False), ("", True)]


async def test_the_past_loads_page_by_page_while_scrolling_up(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "past.ben") as ben, terminal(accounts, endpoint) as ana:
        await ana.sign_up("past.ana")
        channel = await ben.client.open_direct_channel(ana.session.chats.me)
        total = 2 * PAGE + 50
        await asyncio.gather(*(ben.connection.send(channel.channel_id, f"line {i}") for i in range(total)))
        await ana.until(lambda: ana.session.chats.current is not None and ana.current.head_seq == total)
    # Another day: only the latest page is there at first.
    async with terminal(accounts) as ana:
        await ana.until_live()
        await ana.until(lambda: ana.session.chats.current is not None and ana.current.timeline.is_loaded)
        await ana.until(lambda: len(ana.messages) == PAGE)
        assert ana.pane.is_at_end
        await ana.press("escape", "home")
        await ana.until(lambda: len(ana.messages) == 2 * PAGE)
        # What was at the top of the screen is still in view: nothing jumped.
        assert 0 < ana.pane.scroll_offset.y < ana.pane.max_scroll_y - 50
        await ana.press("home")
        await ana.until(lambda: ana.current.timeline.is_complete)
        await ana.until(lambda: len(ana.messages) == total)
        assert [row.seq for row in ana.messages] == list(range(1, total + 1))
        await ana.press("end")
        await ana.until(lambda: ana.pane.is_at_end)


async def test_a_group_is_made_changed_and_left(endpoint: str, accounts: RememberedAccounts) -> None:
    async with (
        friend(endpoint, "group.ben") as ben,
        friend(endpoint, "group.cid") as cid,
        terminal(accounts, endpoint) as ana,
    ):
        await ana.sign_up("group.ana")
        await ana.press("ctrl+g")
        await ana.until(lambda: isinstance(ana.app.screen, TextDialog))
        await ana.type("Hike")
        await ana.press("enter")
        await ana.until(lambda: isinstance(ana.app.screen, PeopleDialog))
        await ana.type("group.b")
        await ana.until(lambda: ana.app.screen.query_one("#found", OptionList).option_count == 1)
        await ana.press("enter", "ctrl+s")
        await ana.until(lambda: ana.session.chats.current is not None)
        channel = ana.current
        await ana.until(lambda: ana.notices == ["You made “Hike” with Group.ben"])

        await ana.say("/add group.cid")
        await ana.until(lambda: ana.notices[-1] == "You added Group.cid")
        await ana.say("/title Walk")
        await ana.until(lambda: "Walk" in ana.words("#title") and "3 members" in ana.words("#title"))
        await ana.say("/role group.ben owner")
        await ana.until(lambda: "Group.ben is the owner now" in ana.notices[-1])
        await ana.say("/remove group.cid")
        await ana.until(lambda: ana.notices[-1] == "You removed Group.cid")
        await ana.say("/remove group.cid")
        await ana.until(lambda: "group.cid is not in this group" in ana.said)
        await ana.press("f2")
        await ana.until(lambda: isinstance(ana.app.screen, TextScreen))
        await ana.press("escape")
        await ana.say("/mute")
        await ana.until(lambda: channel.muted)
        await ana.say("/leave")
        await ana.until(lambda: isinstance(ana.app.screen, ConfirmDialog))
        await ana.press("enter")
        await ana.until(lambda: ana.sidebar == [])
        found = await ben.client.get_channel(channel.channel_id)
        assert (found.title, [member.user_id for member in found.members]) == ("Walk", [ben.user_id])
        with pytest.raises(TidingsError, match="NOT_FOUND"):
            await cid.client.get_channel(channel.channel_id)


async def test_who_is_put_out_of_a_group_sees_so_and_cannot_write(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "out.ben") as ben, terminal(accounts, endpoint) as ana:
        await ana.sign_up("out.ana")
        group = await ben.client.create_group("Hike", [ana.session.chats.me])
        await ana.open(group.channel_id)
        await ben.client.remove_member(group.channel_id, ana.session.chats.me)
        await ana.until(lambda: ana.notices[-1:] == ["Out.ben removed you"])
        assert ana.sidebar[0].is_gone
        await ana.say("anybody there?")
        await ana.until(lambda: ana.row("anybody there?").mark is Mark.FAILED)
        await ana.say("/discard")
        await ana.until(lambda: "anybody there?" not in ana.texts)


async def test_a_block_is_shown_and_what_it_refused_can_be_sent_again(
    endpoint: str, accounts: RememberedAccounts
) -> None:
    async with friend(endpoint, "block.ben") as ben, terminal(accounts, endpoint) as ana:
        await ana.sign_up("block.ana")
        await ana.say("/new block.ben")
        await ana.until(lambda: ana.session.chats.current is not None)
        await ana.say("/block")
        await ana.until(lambda: isinstance(ana.app.screen, ConfirmDialog))
        await ana.press("y")
        await ana.until(lambda: "blocked" in ana.words("#title"))
        await ana.say("still there?")
        await ana.until(lambda: ana.row("still there?").mark is Mark.FAILED)
        assert ana.row("still there?").remark == "one of you has blocked the other"
        await ana.say("/unblock")
        await ana.until(lambda: "blocked" not in ana.words("#title"))
        await ana.say("/retry")
        await ana.until(lambda: ana.row("still there?").seq > 0)
        await ana.say("/contact")
        await ana.until(lambda: ben.user_id in ana.session.chats.contacts)
        await ana.until(lambda: ana.sidebar[0].sign == "●")


async def test_it_goes_on_after_the_server_was_killed(tmp_path: Path, accounts: RememberedAccounts) -> None:
    async with (
        ServerProcess(tmp_path / "server", config=CHEAP_SIGN_UPS) as server,
        friend(server.endpoint, "ben") as ben,
        terminal(accounts, server.endpoint) as ana,
    ):
        await ana.sign_up("ana")
        channel = await ben.client.open_direct_channel(ana.session.chats.me)
        await ben.connection.send(channel.channel_id, "before")
        await ana.until_shown("before")
        await server.kill()
        await ana.until(lambda: "connecting" in ana.words("#status"))
        await ana.say("while it was away")
        await ana.until(lambda: ana.row("while it was away").mark is Mark.SENDING)
        await ana.press("ctrl+q")
        await ana.until(lambda: any("1 message not sent yet" in text for text in ana.said))
        await server.start()
        await ben.connection.send(channel.channel_id, "after")
        await ana.until_shown("after")
        await ana.until(lambda: ana.row("while it was away").seq > 0)
        await ana.until(lambda: "live" in ana.words("#status"))
        log = await ben.client.list_messages(channel.channel_id)
        assert sorted(message.text for message in log) == ["after", "before", "while it was away"]
        assert ana.texts == [message.text for message in log]


async def test_logging_out_and_being_signed_out_lead_to_the_sign_in_screen(
    endpoint: str, accounts: RememberedAccounts
) -> None:
    async with terminal(accounts, endpoint) as ana:
        await ana.sign_up("logs.out")
        await ana.say("/logout")
        await ana.until(lambda: isinstance(ana.app.screen, ConfirmDialog))
        await ana.press("y")
        await ana.until(lambda: isinstance(ana.app.screen, SignInScreen))
        assert "signed out" in ana.words("#message")
        assert ana.app.screen.query_one("#username", Input).value == "logs.out"
        ana.app.screen.query_one("#password", Input).value = PASSWORD
        await ana.press("enter")
        await ana.until_live()
        device_id = ana.session.client.device_id
        async with await Tidings.log_in(endpoint, "logs.out", PASSWORD) as elsewhere:
            await elsewhere.revoke_device(device_id)
            await ana.until(lambda: isinstance(ana.app.screen, SignInScreen))
        assert "this device has been signed out" in ana.words("#message")


async def test_marks_of_the_last_time_are_still_there(endpoint: str, accounts: RememberedAccounts) -> None:
    async with friend(endpoint, "marks.ben") as ben:
        async with terminal(accounts, endpoint) as ana:
            await ana.sign_up("marks.ana")
            await ana.say("/new marks.ben")
            await ana.until(lambda: ana.session.chats.current is not None)
            await ana.say("read this")
            await ana.until(lambda: ana.row("read this").mark is Mark.DELIVERED)
            await ben.connection.mark_read(ana.current.channel_id, 1)
            await ana.until(lambda: ana.row("read this").mark is Mark.READ)
        async with terminal(accounts) as ana:
            await ana.until_live()
            assert (await ana.until_shown("read this")).mark is Mark.READ


async def test_where_events_are_missing_everything_is_loaded_anew(accounts: RememberedAccounts) -> None:
    backend = Backend()
    async with serve(backend) as (endpoint, _), terminal(accounts, endpoint) as ana:
        await ana.sign_up("ana")
        me, device_id = ana.session.chats.me, ana.session.client.device_id
        log = backend.channel(["user-ben", me])
        backend.say(log, "user-ben", "one")
        await ana.until_shown("one")
        # What happens while it is away is more than the inbox keeps.
        backend.reset = True
        session = backend.sessions.pop(device_id)
        for index in range(3 * PAGE):
            backend.say(log, "user-ben", f"missed {index}")
        session.end()
        await ana.until_shown(f"missed {3 * PAGE - 1}")
        await ana.until(lambda: len(ana.messages) >= PAGE)
        await ana.press("escape", "home")
        await ana.until(lambda: len(ana.messages) >= 2 * PAGE)
        seqs = [row.seq for row in ana.messages]
        assert seqs == list(range(seqs[0], seqs[-1] + 1))


async def test_what_is_set_to_what_it_is_already_is_not_sent(accounts: RememberedAccounts) -> None:
    backend = Backend()
    async with serve(backend) as (endpoint, _), terminal(accounts, endpoint) as ana:
        await ana.sign_up("ana")
        me = ana.session.chats.me
        log = backend.channel([me, "user-ben"])
        channel = await ana.open(log.channel_id)
        await ana.say("as it is")
        await ana.until(lambda: ana.row("as it is").seq > 0)
        admin = chat_pb2.MemberChange(
            user_id="user-ben", kind=chat_pb2.MemberChange.KIND_ROLE_CHANGED, role=channel_pb2.MEMBER_ROLE_ADMIN
        )
        backend.write(log, "membership_changed", chat_pb2.MembershipChanged(actor_id=me, changes=[admin]))
        backend.write(log, "channel_updated", chat_pb2.ChannelUpdated(actor_id=me, title="Hike"))
        await ana.until(lambda: channel.title == "Hike")

        await ana.press("escape", "e")
        await ana.until(lambda: ana.composer.text == "as it is")
        await ana.press("enter")
        await ana.until(lambda: ana.composer.text == "")
        await ana.say("/edit as it is")
        await ana.say("after all that")
        await ana.until(lambda: ana.row("after all that").seq > 0)
        commands = [command.WhichOneof("body") for command in backend.session_of(ana.session.client.device_id).received]
        assert "edit_message" not in commands
        assert not ana.screen.query_one("#banner").display
        # This backend refuses both calls when they are made.
        await ana.session.sender.retitle(channel, "Hike")
        with pytest.raises(TidingsError):
            await ana.session.sender.retitle(channel, "Walk")
        await ana.session.sender.change_role(channel, "user-ben", channel_pb2.MEMBER_ROLE_ADMIN)
        with pytest.raises(TidingsError):
            await ana.session.sender.change_role(channel, "user-ben", channel_pb2.MEMBER_ROLE_MEMBER)


async def test_a_text_that_another_edit_is_about_to_replace_can_be_put_back(accounts: RememberedAccounts) -> None:
    backend = Backend()
    async with serve(backend) as (endpoint, _), terminal(accounts, endpoint) as ana:
        await ana.sign_up("ana")
        log = backend.channel([ana.session.chats.me, "user-ben"])
        channel = await ana.open(log.channel_id)
        await ana.say("before")
        await ana.until(lambda: ana.row("before").seq > 0)
        seq = ana.row("before").seq
        ana.session.sender.edit(channel, seq, "between")
        ana.session.sender.edit(channel, seq, "before")
        await ana.until(lambda: [row.text for row in ana.messages if row.edited] == ["before"])
        texts = [event.message_edited.text for event in log.events if event.HasField("message_edited")]
        assert texts == ["between", "before"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--server", "nowhere"], "--server nowhere is not HOST:PORT"),
        (["--plaintext", "--ca", "roots.pem"], "exclude one another"),
        ([], "chat needs a terminal to run in"),
    ],
)
def test_what_keeps_it_from_starting_is_told_in_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(chat)
    result = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
