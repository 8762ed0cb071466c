"""Slash commands: what may be typed instead of a message."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spec:
    """A command as the help shows it."""

    word: str
    arguments: str
    meaning: str
    key: str = ""
    """A key that does the same."""


SPECS = (
    Spec("new", "[NAME]", "talk to a person", "Ctrl+N"),
    Spec("group", "[TITLE]", "make a group", "Ctrl+G"),
    Spec("members", "", "who is in this channel", "F2"),
    Spec("add", "[NAME …]", "add people to this group"),
    Spec("remove", "NAME", "put somebody out of this group"),
    Spec("role", "NAME admin|member|owner", "give a member another role"),
    Spec("title", "TEXT", "change this group's title"),
    Spec("leave", "", "leave this group"),
    Spec("mute", "", "no notifications for this channel"),
    Spec("unmute", "", "notifications again"),
    Spec("reply", "TEXT", "answer the selected message, else the latest one of somebody else", "r"),
    Spec("edit", "[TEXT]", "change the selected message, else your latest one", "e"),
    Spec("delete", "", "delete the selected message, else your latest one", "d"),
    Spec("retry", "", "send again what could not be sent"),
    Spec("discard", "", "forget what could not be sent"),
    Spec("contact", "[NAME]", "add somebody to your contacts, whose presence you then see at once"),
    Spec("uncontact", "[NAME]", "remove somebody from your contacts"),
    Spec("contacts", "", "your contacts, and whom you blocked"),
    Spec("block", "[NAME]", "refuse somebody's direct messages"),
    Spec("unblock", "[NAME]", "accept them again"),
    Spec("logout", "", "sign this device out"),
    Spec("help", "", "this", "F1"),
    Spec("quit", "", "leave; you stay signed in", "Ctrl+Q"),
)
_WORDS = {spec.word: spec for spec in SPECS}


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command as it was typed."""

    word: str
    rest: str = ""

    @property
    def names(self) -> list[str]:
        """The usernames in the rest, which may have an @ before them."""
        return [name.removeprefix("@").lower() for name in self.rest.replace(",", " ").split()]


class CommandError(ValueError):
    """There is no such command; the message says so in words."""


def parse(text: str) -> SlashCommand | str:
    """Tells a command from a message.

    Args:
        text: The whole input.

    Returns:
        The command, or the text to send. Two slashes at the beginning send a text that begins with one.

    Raises:
        CommandError: The text begins with a slash, and there is no such command.
    """
    if text.startswith("//"):
        return text[1:]
    if not text.startswith("/"):
        return text
    word, _, rest = text[1:].partition(" ")
    word = word.strip().lower()
    if word in _WORDS:
        return SlashCommand(word, rest.strip())
    close = difflib.get_close_matches(word, _WORDS, n=1)
    hint = f"did you mean /{close[0]}?" if close else "/help lists what there is"
    raise CommandError(f"there is no command /{word}: {hint} (// sends a text that begins with a slash)")


def complete(text: str) -> str:
    """Completes a half-typed command for Tab; a text that does not name exactly one command stays as it is."""
    word = text.removeprefix("/")
    if not text.startswith("/") or " " in text:
        return text
    matches = [spec.word for spec in SPECS if spec.word.startswith(word)]
    return f"/{matches[0]} " if len(matches) == 1 else text
