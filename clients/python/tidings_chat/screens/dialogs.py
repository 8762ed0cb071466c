"""The dialogs over the chat: to find people, to ask for a text or a yes, and to read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from rich.console import RenderableType
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tidings_chat.chats import Person
from tidings_chat.session import ChatSession
from tidings_chat.shown import NOTHING, ShownLine, ShownText
from tidings_chat.text import explain
from tidings_chat.widgets.words import LineInput, Words, border_words, words
from tidings_client import TidingsError

# While the user types quickly, no search is made.
_PAUSE_SECONDS = 0.15

_Result = TypeVar("_Result")

_DIALOG_CSS = """
    {name} {{
        align: center middle;
        background: $background 60%;
        & > Vertical {{
            width: 64;
            max-width: 94%;
            height: auto;
            max-height: 90%;
            padding: 1 2;
            background: $surface;
            border: round $accent;
            border-title-color: $accent;
            border-title-style: bold;
            border-subtitle-color: $foreground 60%;
        }}
        & Input {{ border: round $foreground 30%; background: transparent; height: 3; }}
        & Input:focus {{ border: round $accent; }}
        & OptionList {{ border: none; background: transparent; height: auto; max-height: 12; padding: 0; }}
        & .hint {{ color: $foreground 60%; }}
        & .chosen {{ color: $accent; }}
    }}
"""


def _give(dialog: ModalScreen[_Result], result: _Result) -> None:
    # A dialog cannot wait for its own end.
    _ = dialog.dismiss(result)


class PeopleDialog(ModalScreen[list[Person]]):
    """Finds people by the beginning of their name. It gives those chosen; None when it is cancelled.

    Args:
        session: The session, which searches.
        title: The title of the dialog.
        several: Whether any number of people may be chosen.
        without: The ids of people who cannot be chosen.
        optional: Whether choosing nobody is an answer too.
    """

    DEFAULT_CSS = _DIALOG_CSS.format(name="PeopleDialog")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("ctrl+s", "done", "Done", priority=True),
    ]

    def __init__(
        self,
        session: ChatSession,
        title: ShownLine,
        *,
        several: bool = False,
        without: Sequence[str] = (),
        optional: bool = False,
    ) -> None:
        super().__init__()
        self._session = session
        self._title = title
        self._several = several
        self._without = {*without, session.chats.me}
        self._optional = optional
        self._found: list[Person] = []
        self._chosen: list[Person] = []

    def compose(self) -> ComposeResult:
        """Makes the dialog."""
        with Vertical() as box:
            box.border_title = border_words(self._title)
            box.border_subtitle = (
                "Enter adds · Ctrl+S done · Esc cancels" if self._several else "Enter chooses · Esc cancels"
            )
            yield Words(id="chosen", classes="chosen")
            yield LineInput(placeholder="the beginning of a name", id="prefix")
            yield OptionList(id="found", compact=True)
            yield Words(id="hint", classes="hint")

    def on_mount(self) -> None:
        """Lists the people of the direct channels and the contacts first."""
        self.query_one("#chosen").display = False
        chats = self._session.chats
        peers = [channel.peer for channel in chats.ordered() if channel.is_direct]
        near = dict.fromkeys([*peers, *sorted(chats.contacts, key=lambda user_id: chats.person(user_id).name.lower())])
        self._show([chats.person(user_id) for user_id in near if user_id], ShownLine("type to find people by name"))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        prefix = event.value.strip().removeprefix("@")
        if prefix:
            self.run_worker(self._search(prefix), exclusive=True, group="search")
        else:
            self.workers.cancel_group(self, "search")

    async def _search(self, prefix: str) -> None:
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            found = await self._session.loader.search(prefix)
        except TidingsError as error:
            self._show([], explain(error))
        else:
            self._show(found, ShownLine("" if found else f"nobody’s name begins with “{prefix}”"))

    def _show(self, people: list[Person], hint: ShownLine) -> None:
        if not self.is_current:
            # The answer to a search that came after the choice.
            return
        self._found = [person for person in people if person.user_id not in self._without]
        options = self.query_one("#found", OptionList)
        options.set_options(
            [
                Option(words(person.name, (ShownLine(f"  {person.handle}"), "dim")), id=person.user_id)
                for person in self._found
            ]
        )
        options.highlighted = 0 if self._found else None
        label = self.query_one("#hint", Words)
        label.show(hint)
        label.display = bool(hint)

    def action_move(self, step: int) -> None:
        """Moves the highlight while the cursor stays in the input."""
        options = self.query_one("#found", OptionList)
        if self._found:
            options.highlighted = ((options.highlighted or 0) + step) % len(self._found)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        index = self.query_one("#found", OptionList).highlighted
        if index is not None and index < len(self._found):
            self._choose(self._found[index])
        elif not self.query_one("#prefix", Input).value:
            self.action_done()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(self._found[event.option_index])

    def _choose(self, person: Person) -> None:
        if not self._several:
            _give(self, [person])
            return
        self._chosen.append(person)
        self._without.add(person.user_id)
        chosen = self.query_one("#chosen", Words)
        chosen.show(ShownText(", ".join(each.name for each in self._chosen)))
        chosen.display = True
        prefix = self.query_one("#prefix", Input)
        prefix.value = ""
        prefix.focus()
        self._show(self._found, NOTHING)

    def action_done(self) -> None:
        """Gives the people chosen so far."""
        if self._several and (self._chosen or self._optional):
            _give(self, self._chosen)


class TextDialog(ModalScreen[str]):
    """Asks for a line of text. It gives the text; None when it is cancelled.

    Args:
        title: The title of the dialog.
        value: The text to begin with.
        most: The most characters.
    """

    DEFAULT_CSS = _DIALOG_CSS.format(name="TextDialog")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, title: ShownLine, value: str = "", most: int = 128) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._most = most

    def compose(self) -> ComposeResult:
        """Makes the dialog."""
        with Vertical() as box:
            box.border_title = border_words(self._title)
            box.border_subtitle = "Enter accepts · Esc cancels"
            yield LineInput(self._value, max_length=self._most)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            _give(self, event.value.strip())


class ConfirmDialog(ModalScreen[bool]):
    """Asks for a yes or a no.

    Args:
        question: The question.
    """

    DEFAULT_CSS = _DIALOG_CSS.format(name="ConfirmDialog")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, question: ShownText) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Makes the dialog."""
        with Vertical() as box:
            box.border_subtitle = "y or Enter: yes · n or Esc: no"
            yield Words(words(self._question))


class TextScreen(ModalScreen[None]):
    """Shows something to read, such as the help.

    Args:
        title: The title.
        content: What is shown.
    """

    DEFAULT_CSS = (
        _DIALOG_CSS.format(name="TextScreen")
        + """
    TextScreen > Vertical { width: 76; padding: 1 1 1 2; }
    TextScreen VerticalScroll { height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
    """
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,enter", "dismiss(None)", "Close")]

    def __init__(self, title: ShownLine, content: RenderableType) -> None:
        super().__init__()
        self._title = title
        self._content = content

    def compose(self) -> ComposeResult:
        """Makes the dialog."""
        with Vertical() as box:
            box.border_title = border_words(self._title)
            box.border_subtitle = "Esc closes"
            with VerticalScroll():
                yield Static(self._content)
