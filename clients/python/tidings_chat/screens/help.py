"""The texts of the help and of the lists of people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from tidings.v1 import channel_pb2
from tidings_chat.channels import ChatChannel
from tidings_chat.chats import Chats
from tidings_chat.commands import SPECS
from tidings_chat.shown import ShownLine, ShownText
from tidings_chat.widgets.words import words

_KEYS = (
    ("Enter", "send; Alt+Enter or Ctrl+J begins a new line"),
    ("↑ ↓", "what you wrote before, from the first or last line"),
    ("PgUp PgDn", "scroll; older messages load as you get there"),
    ("Tab", "from the text to the channels, to the messages"),
    ("Alt+↑ Alt+↓", "the channel above or below"),
    ("Ctrl+B", "hide or show the channels"),
    ("Esc", "select messages; again: back to the text"),
)
_MARKS = "✓ accepted   ✓✓ on their device   ✓✓ read   … on its way   ✗ not sent"
_ROLES = {
    channel_pb2.MEMBER_ROLE_ADMIN: "admin",
    channel_pb2.MEMBER_ROLE_OWNER: "owner",
}


def help_text() -> RenderableType:
    """Makes the help: keys, commands and marks."""
    keys = _grid()
    for key, meaning in _KEYS:
        keys.add_row(words((ShownLine(key), "bold")), words(ShownLine(meaning)))
    commands = _grid()
    for spec in SPECS:
        meaning = f"{spec.meaning}  ({spec.key})" if spec.key else spec.meaning
        word, arguments = ShownLine(f"/{spec.word}"), ShownLine(f" {spec.arguments}")
        commands.add_row(words((word, "bold"), arguments), words(ShownLine(meaning)))
    return Group(keys, words(), commands, words(), words(ShownLine(_MARKS)))


def members_text(chats: Chats, channel: ChatChannel) -> RenderableType:
    """Makes the list of a channel's members."""
    return _people(chats, list(channel.members), {each: _ROLES.get(m.role, "") for each, m in channel.members.items()})


def contacts_text(chats: Chats) -> RenderableType:
    """Makes the lists of the contacts and of those who are blocked."""
    if not chats.contacts and not chats.blocked:
        return words(ShownLine("Nobody yet: /contact NAME adds somebody."))
    parts: list[RenderableType] = [_people(chats, _by_name(chats, chats.contacts), {})]
    if chats.blocked:
        parts += [words((ShownText("\nBlocked"), "bold")), _people(chats, _by_name(chats, chats.blocked), {})]
    return Group(*parts)


def _by_name(chats: Chats, user_ids: set[str]) -> list[str]:
    return sorted(user_ids, key=lambda user_id: chats.person(user_id).name.lower())


def _people(chats: Chats, user_ids: list[str], remarks: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for user_id in user_ids:
        person = chats.person(user_id)
        is_online = user_id == chats.me or chats.online.get(user_id, False)
        sign = words((ShownLine("●"), "green") if is_online else (ShownLine("○"), "dim"))
        name = words(ShownLine(f"{person.name} (you)") if user_id == chats.me else person.name)
        remark = ShownLine(remarks.get(user_id, ""))
        table.add_row(sign, name, words((person.handle, "dim")), words((remark, "bold")))
    return table


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    return table
