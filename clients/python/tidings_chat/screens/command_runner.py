"""The commands of the chat screen, and what each does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from rich.console import RenderableType
from textual.app import App

from tidings.v1 import channel_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Person
from tidings_chat.commands import SlashCommand
from tidings_chat.rows import ChatMessageRow
from tidings_chat.screens.dialogs import ConfirmDialog, PeopleDialog, TextDialog, TextScreen
from tidings_chat.screens.help import contacts_text, help_text, members_text
from tidings_chat.session import ChatSession
from tidings_chat.shown import ShownLine, ShownText
from tidings_chat.text import count, explain, joined
from tidings_client import TidingsError

_ROLES = {
    "member": channel_pb2.MEMBER_ROLE_MEMBER,
    "admin": channel_pb2.MEMBER_ROLE_ADMIN,
    "owner": channel_pb2.MEMBER_ROLE_OWNER,
}


class CommandContext(Protocol):
    """The screen as far as commands need it."""

    session: ChatSession

    @property
    def selected(self) -> ChatMessageRow | None:
        """The selected message."""

    @property
    def messages(self) -> Sequence[ChatMessageRow]:
        """The messages on the screen that are accepted and not deleted."""

    @property
    def app(self) -> App[object]:
        """The application, which shows dialogs."""

    def open_channel(self, channel: ChatChannel) -> None:
        """Puts a channel on the screen."""

    def begin_edit(self, row: ChatMessageRow) -> None:
        """Puts a message into the composer to be changed."""

    def begin_reply(self, row: ChatMessageRow) -> None:
        """Makes the next message an answer to this one."""

    def say(self, text: ShownLine) -> None:
        """Shows a text beside the conversation."""

    def complain(self, text: ShownLine) -> None:
        """Shows that something did not work."""

    async def log_out(self) -> None:
        """Signs the device out."""

    async def leave_app(self) -> None:
        """Ends the program."""


class _NotNow(Exception):  # noqa: N818 - an answer
    """A command makes no sense here; the message says why."""


class CommandRunner:
    """Carries out commands: `_do_WORD` is the command /WORD.

    Args:
        context: The screen.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._session = context.session
        self._chats = context.session.chats
        self._loader = context.session.loader
        self._sender = context.session.sender

    async def run(self, command: SlashCommand) -> None:
        """Carries out a command; when that does not work, it says why."""
        act: Callable[[SlashCommand], Awaitable[None]] = getattr(self, f"_do_{command.word}")
        try:
            await act(command)
        except _NotNow as reason:
            self._context.complain(ShownLine(str(reason)))
        except TidingsError as error:
            self._context.complain(explain(error))

    # --- channels -----------------------------------------------------------------------------------------------------

    async def _do_new(self, command: SlashCommand) -> None:
        person = await self._person(command, "Talk to", channel_peer=False)
        if person is not None:
            self._context.open_channel(await self._sender.open_direct(person.user_id))

    async def _do_group(self, command: SlashCommand) -> None:
        title = command.rest or await self._context.app.push_screen_wait(TextDialog(ShownLine("The group’s title")))
        if title is None:
            return
        dialog = PeopleDialog(self._session, ShownLine(f"Who is in “{title}”?"), several=True, optional=True)
        people = await self._context.app.push_screen_wait(dialog)
        if people is not None:
            self._context.open_channel(await self._sender.create_group(title, [each.user_id for each in people]))

    async def _do_members(self, command: SlashCommand) -> None:
        channel = self._channel()
        await self._loader.know(channel.members)
        await self._read(count(len(channel.members), "member"), members_text(self._chats, channel))

    async def _do_add(self, command: SlashCommand) -> None:
        channel = self._group()
        if command.rest:
            people = [await self._named(name) for name in command.names]
        else:
            dialog = PeopleDialog(
                self._session, ShownLine(f"Add to “{channel.title}”"), several=True, without=list(channel.members)
            )
            people = await self._context.app.push_screen_wait(dialog) or []
        if people:
            await self._sender.add(channel, [each.user_id for each in people])

    async def _do_remove(self, command: SlashCommand) -> None:
        channel = self._group()
        person = await self._member(channel, command)
        await self._sender.remove(channel, person.user_id)

    async def _do_role(self, command: SlashCommand) -> None:
        channel = self._group()
        name, _, role = command.rest.partition(" ")
        if role.strip() not in _ROLES:
            raise _NotNow("usage: /role NAME admin, member or owner")
        person = await self._member(channel, SlashCommand("role", name))
        await self._sender.change_role(channel, person.user_id, _ROLES[role.strip()])

    async def _do_title(self, command: SlashCommand) -> None:
        channel = self._group()
        title = command.rest or await self._context.app.push_screen_wait(
            TextDialog(ShownLine("New title"), channel.title)
        )
        if title is not None:
            await self._sender.retitle(channel, title)

    async def _do_leave(self, command: SlashCommand) -> None:
        channel = self._group()
        if not channel.is_member or await self._confirmed(f"Leave “{channel.title}”?"):
            await self._sender.leave(channel)

    async def _do_mute(self, command: SlashCommand) -> None:
        await self._sender.mute(self._channel(), True)
        self._context.say(ShownLine("muted: it no longer rings, and nothing is pushed"))

    async def _do_unmute(self, command: SlashCommand) -> None:
        await self._sender.mute(self._channel(), False)
        self._context.say(ShownLine("no longer muted"))

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _do_reply(self, command: SlashCommand) -> None:
        channel = self._channel()
        row = self._aim(lambda row: not row.is_mine, "there is no message to answer")
        if command.rest:
            self._sender.send(channel, command.rest, row.seq)
        else:
            self._context.begin_reply(row)

    async def _do_edit(self, command: SlashCommand) -> None:
        channel = self._channel()
        row = self._aim(lambda row: row.is_mine, "you have no message here to change")
        if not row.is_mine:
            raise _NotNow("only its author can change a message")
        if command.rest:
            self._sender.edit(channel, row.seq, command.rest)
        else:
            self._context.begin_edit(row)

    async def _do_delete(self, command: SlashCommand) -> None:
        channel = self._channel()
        row = self._aim(lambda row: row.is_mine, "you have no message here to delete")
        if not row.is_mine and not (channel.is_admin and not channel.is_direct):
            raise _NotNow("only its author, or an admin of a group, can delete a message")
        beginning = row.text if len(row.text) <= 60 else f"{row.text[:60]}…"
        if await self._confirmed(f"Delete “{beginning}” for everyone?"):
            self._sender.delete(channel, row.seq)

    async def _do_retry(self, command: SlashCommand) -> None:
        if not self._sender.retry(self._channel()):
            raise _NotNow("nothing has failed here")

    async def _do_discard(self, command: SlashCommand) -> None:
        if not self._sender.discard(self._channel()):
            raise _NotNow("nothing has failed here")

    # --- people -------------------------------------------------------------------------------------------------------

    async def _do_contact(self, command: SlashCommand) -> None:
        person = await self._person(command, "Add to contacts")
        if person is not None:
            await self._sender.add_contact(person.user_id)
            self._context.say(ShownLine(f"{person.name} is among your contacts"))

    async def _do_uncontact(self, command: SlashCommand) -> None:
        person = await self._person(command, "Remove from contacts")
        if person is not None:
            await self._sender.remove_contact(person.user_id)
            self._context.say(ShownLine(f"{person.name} is not among your contacts any more"))

    async def _do_contacts(self, command: SlashCommand) -> None:
        await self._read("Contacts", contacts_text(self._chats))

    async def _do_block(self, command: SlashCommand) -> None:
        person = await self._person(command, "Block")
        if person is not None and await self._confirmed(f"Block {person.full_name}?"):
            await self._sender.block(person.user_id)
            self._context.say(ShownLine(f"{person.name} is blocked"))

    async def _do_unblock(self, command: SlashCommand) -> None:
        blocked = self._chats.blocked
        if not command.rest and (len(blocked) == 1):
            person: Person | None = self._chats.person(next(iter(blocked)))
        else:
            person = await self._person(command, "Unblock")
        if person is not None:
            await self._sender.unblock(person.user_id)
            self._context.say(ShownLine(f"{person.name} is not blocked any more"))

    # --- the program --------------------------------------------------------------------------------------------------

    async def _do_logout(self, command: SlashCommand) -> None:
        if await self._confirmed("Sign this device out?"):
            await self._context.log_out()

    async def _do_help(self, command: SlashCommand) -> None:
        await self._read("Help", help_text())

    async def _do_quit(self, command: SlashCommand) -> None:
        await self._context.leave_app()

    # --- shared by commands -------------------------------------------------------------------------------------------

    def _channel(self) -> ChatChannel:
        channel = self._chats.current
        if channel is None:
            raise _NotNow("open a channel first")
        return channel

    def _group(self) -> ChatChannel:
        channel = self._channel()
        if channel.is_direct:
            raise _NotNow("that is for groups; /group makes one")
        return channel

    def _aim(self, suits: Callable[[ChatMessageRow], bool], otherwise: str) -> ChatMessageRow:
        selected = self._context.selected
        if selected is not None:
            if not selected.seq or selected.deleted:
                raise _NotNow("that is only for messages that are there")
            return selected
        row = next((row for row in reversed(self._context.messages) if suits(row)), None)
        if row is None:
            raise _NotNow(otherwise)
        return row

    async def _person(self, command: SlashCommand, title: str, *, channel_peer: bool = True) -> Person | None:
        """Finds the person named, else the other one of the direct channel, else one chosen in a dialog."""
        if command.rest:
            return await self._named(command.names[0])
        channel = self._chats.current
        if channel_peer and channel is not None and channel.is_direct:
            return self._chats.person(channel.peer)
        people = await self._context.app.push_screen_wait(PeopleDialog(self._session, ShownLine(title)))
        return people[0] if people else None

    async def _named(self, name: str) -> Person:
        person = await self._loader.find(name)
        if person is None:
            raise _NotNow(f"there is nobody named {name}")
        return person

    async def _member(self, channel: ChatChannel, command: SlashCommand) -> Person:
        chats = self._chats
        await self._loader.know(channel.members)
        people = [chats.person(user_id) for user_id in channel.members]
        for person in people:
            if command.names and person.username == command.names[0]:
                return person
        if command.names:
            raise _NotNow(f"{command.names[0]} is not in this group")
        others = [person.username for person in people if person.user_id != chats.me]
        raise _NotNow(f"/{command.word} NAME: one of {joined(others)}" if others else "nobody else is in this group")

    async def _confirmed(self, question: str) -> bool:
        confirmed: bool | None = await self._context.app.push_screen_wait(ConfirmDialog(ShownText(question)))
        return confirmed is True

    async def _read(self, title: str, text: RenderableType) -> None:
        await self._context.app.push_screen(TextScreen(ShownLine(title), text))
