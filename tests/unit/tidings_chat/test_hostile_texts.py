"""Every widget and screen, shown texts that would command the terminal, break Textual's markup, or hide.

They come over the wire, from a server that cleans nothing: names, titles, messages, errors.
"""

from __future__ import annotations

import ast
import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

import tidings_chat
from tests.support.sdk_fake import Backend, Log, serve, status
from tidings.v1 import account_pb2, channel_pb2, chat_pb2
from tidings_chat.accounts import RememberedAccount, RememberedAccounts
from tidings_chat.app import ChatApp
from tidings_chat.screens.chat import ChatScreen
from tidings_chat.screens.dialogs import ConfirmDialog, PeopleDialog, TextDialog, TextScreen
from tidings_chat.screens.sign_in import SignInScreen
from tidings_chat.shown import ShownLine
from tidings_chat.widgets.composer import Composer
from tidings_client import Status, Tidings

pytestmark = pytest.mark.timeout(90)

SECONDS = 20.0
PASSWORD = "long enough"
HOSTILE = (
    "EVIL[/x][b]\x1b]0;pwned\x07\x1b[2J\x9b31m\x00\u202e\u2066\u200b\u3164\r\n\t[@click=app.quit]x[/]" + "\u0301" * 30
)
SAMPLES = {
    "hostile": HOSTILE,
    "broken": "[/x][\\[/b]\u2028\u2029\x85\x0b\x0c[",
    "wide": "日本語👩‍👩‍👧‍👦EVIL" * 200,
    "blank": "\u0338 \u3164\u2800",
}


def hostile_user(username: str, text: str) -> account_pb2.User:
    return account_pb2.User(user_id=f"user-{username}", username=text, display_name=text, about=text)


class Terminal:
    """A user's terminal, and what is drawn on it."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot
        self.seen: set[str] = set()

    def drawn(self) -> str:
        """What is on the screen, as it goes to the terminal but for colours."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    def check(self) -> str:
        """Nothing on the screen is anything but a character to show."""
        drawn = self.drawn()
        for character in drawn.replace("\n", ""):
            allowed = character in "\u200c\u200d"
            assert allowed or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), ascii(
                character
            )
        assert "\u0301" * 5 not in drawn
        return drawn

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self.check()
                await self.pilot.pause()
        await self.pilot.pause()
        self.check()

    async def until_shows(self, text: str) -> None:
        await self.until(lambda: text in self.drawn())

    async def run(self, command: str) -> None:
        screen = next(each for each in self.app.screen_stack if isinstance(each, ChatScreen))
        screen.query_one(Composer).focus()
        screen.query_one(Composer).put(command)
        await self.pilot.press("enter")

    async def dialog(self, command: str, kind: type) -> None:
        """Runs a command, looks at the dialog that it opens, and closes it."""
        await self.run(command)
        await self.until(lambda: isinstance(self.app.screen, kind))
        await self.pilot.pause(0.2)
        self.check()
        await self.pilot.press("escape")
        await self.until(lambda: isinstance(self.app.screen, ChatScreen))


@asynccontextmanager
async def terminal(backend: Backend, address: str, folder: Path) -> AsyncIterator[Terminal]:
    client = await Tidings.sign_up(address, "ann", PASSWORD)
    account = RememberedAccount("ann", address, folder / "ann.db")
    app = ChatApp(RememberedAccounts(folder), server=address, signed_in=(client, account))
    async with app.run_test(size=(100, 36), notifications=True) as pilot:
        user = Terminal(app, pilot)
        await user.until(
            lambda: app.session is not None and app.session.status is Status.LIVE and app.session.chats.is_loaded
        )
        yield user


def write_everything(backend: Backend, group: Log, text: str) -> None:
    """Every kind of entry and of event, by somebody else, with the text in it wherever one may be."""
    group.title = text
    said = backend.say(group, "user-eve", text, "first")
    backend.write(group, "channel_updated", chat_pb2.ChannelUpdated(actor_id="user-eve", title=text))
    backend.write(
        group,
        "message",
        chat_pb2.Message(sender_id="user-eve", text=text, reply_to_seq=said.seq, client_message_id="b"),
    )
    backend.write(
        group, "message_edited", chat_pb2.MessageEdited(editor_id="user-eve", message_seq=said.seq, text=text)
    )
    change = chat_pb2.MemberChange(
        user_id="user-eve", kind=chat_pb2.MemberChange.KIND_ROLE_CHANGED, role=channel_pb2.MEMBER_ROLE_ADMIN
    )
    backend.write(group, "membership_changed", chat_pb2.MembershipChanged(actor_id="user-eve", changes=[change]))
    for session in backend.sessions.values():
        session.send(
            chat_pb2.Event(typing=chat_pb2.Typing(channel_id=group.channel_id, user_id="user-eve", typing=True))
        )


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
async def test_no_text_of_others_commands_any_screen(text: str, tmp_path: Path) -> None:
    backend = Backend()
    backend.users["eve"] = hostile_user("eve", text)
    backend.users["eva"] = hostile_user("eva", text)
    async with serve(backend) as (address, _), terminal(backend, address, tmp_path) as user:
        group = backend.channel(["user-eve", "user-ann"])
        other = backend.channel(["user-eva", "user-ann"], channel_pb2.CHANNEL_KIND_DIRECT)
        write_everything(backend, group, text)
        backend.say(other, "user-eva", text)
        session = user.app.session
        assert session is not None
        await user.until(lambda: {group.channel_id, other.channel_id} <= session.chats.channels.keys())
        screen = user.app.screen
        assert isinstance(screen, ChatScreen)
        # A toast for the channel that is not on the screen, with the name and the text.
        for channel, elsewhere in ((group, other), (other, group)):
            screen.open_channel(session.chats.channels[channel.channel_id])
            await user.until(lambda: session.chats.current is not None and session.chats.current.timeline.is_loaded)
            backend.say(elsewhere, "user-eva", text)
            write_everything(backend, group, text)
            await user.until(lambda: bool(user.app._notifications))
            await user.pilot.pause(0.1)
            if text is HOSTILE:
                await user.until_shows("EVIL[/x][b]")
            user.check()
        screen.open_channel(session.chats.channels[group.channel_id])
        for command, kind in (
            ("/members", TextScreen),
            ("/contacts", TextScreen),
            ("/help", TextScreen),
            ("/new", PeopleDialog),
            ("/add", PeopleDialog),
            ("/group", TextDialog),
            (f"/group {text.splitlines()[0]}" if text.strip() else "/group x", PeopleDialog),
            ("/title", TextDialog),
            ("/leave", ConfirmDialog),
            ("/logout", ConfirmDialog),
        ):
            await user.dialog(command, kind)
        # The search, and somebody chosen from it.
        await user.run("/add")
        await user.until(lambda: isinstance(user.app.screen, PeopleDialog))
        user.app.screen.query_one("#prefix", Input).value = "e"
        await user.pilot.pause(0.4)
        await user.pilot.press("enter")
        await user.pilot.pause()
        user.check()
        await user.pilot.press("escape")
        # The banner of an answer, and the confirmation with the beginning of a text.
        await user.run("/reply")
        await user.pilot.pause()
        user.check()
        await user.pilot.press("escape")
        # What the user pastes is drawn too.
        screen.query_one(Composer).put(text)
        await user.pilot.pause()
        user.check()
        screen.query_one(Composer).post_message(events.Paste(text))
        await user.pilot.pause()
        user.check()
        # A refusal in the server's words, beside the message and in a toast.
        backend.on_command = lambda session, command: (
            status("FAILED_PRECONDITION", text[:500]) if command.HasField("send_message") else None
        )
        await user.run("refused")
        await user.pilot.pause(0.2)
        user.check()
        backend.on_command = lambda *_: None
        # The session ends in the server's words, which the sign-in screen shows.
        backend.on_connect = lambda _: status("PERMISSION_DENIED", text[:500])
        for each in list(backend.sessions.values()):
            each.end()
        await user.until(lambda: isinstance(user.app.screen, SignInScreen))
        user.app.screen.query_one("#username", Input).post_message(events.Paste(text))
        await user.pilot.pause()
        user.check()


async def test_two_people_with_one_name_are_told_apart_on_the_screen(tmp_path: Path) -> None:
    backend = Backend()
    backend.users["bob"] = account_pb2.User(user_id="user-bob", username="bob", display_name="Bob")
    backend.users["eve"] = account_pb2.User(user_id="user-eve", username="eve", display_name="Воb")
    async with serve(backend) as (address, _), terminal(backend, address, tmp_path) as user:
        group = backend.channel(["user-bob", "user-ann", "user-eve"])
        backend.say(group, "user-bob", "it is me")
        backend.say(group, "user-eve", "no, me")
        await user.until_shows("no, me")
        drawn = user.drawn()
        assert "Bob @bob" in drawn
        assert "Воb @eve" in drawn


def test_texts_reach_widgets_by_one_way_alone() -> None:
    """Textual takes a plain string for markup, and Rich any string: only `words` makes what they draw."""
    folder = Path(tidings_chat.__file__).parent
    makers = {"Text", "Content", "Static", "Label", "Markdown"}
    found = {
        f"{path.relative_to(folder).as_posix()} {alias.name}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("rich", "textual"))
        for alias in node.names
        if alias.name in makers
    }
    assert found == {
        "screens/dialogs.py Static",  # shows a renderable that `help` made of words
        "widgets/layout.py Text",  # lays out rows, whose texts are shown ones
        "widgets/words.py Content",
        "widgets/words.py Static",
        "widgets/words.py Text",
    }
    notifying = [
        ast.unparse(node)
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".notify")
    ]
    assert notifying
    assert all("markup=False" in call for call in notifying)
    assert type(ShownLine("a")) is not str
