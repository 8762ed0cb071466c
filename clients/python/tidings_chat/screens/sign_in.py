"""The screen to sign in or up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, OptionList
from textual.widgets.option_list import Option

from tidings_chat.accounts import RememberedAccount, RememberedAccounts
from tidings_chat.shown import NOTHING, ShownLine
from tidings_chat.text import explain
from tidings_chat.widgets.words import LineInput, Words, words
from tidings_client import SignedOutError, Tidings, TidingsError, Tls

SignedIn = Callable[[Tidings, RememberedAccount], object]
"""Is called with a device that has signed in, and its account."""


class SignInScreen(Screen[None]):
    """Asks for server, name and password, or offers the remembered accounts.

    Args:
        accounts: The accounts of this machine.
        signed_in: Continues with the device that has signed in.
        server: HOST:PORT to begin with.
        username: The name to begin with.
        message: Why the user has to sign in, unless that is obvious.
        tls: How the connection is secured.
        remembered: Accounts to choose from.
    """

    DEFAULT_CSS = """
    SignInScreen {
        align: center middle;
        & #box {
            width: 56;
            max-width: 96%;
            height: auto;
            max-height: 100%;
            padding: 0 2;
            border: round $foreground 30%;
            border-title-color: $accent;
            border-title-style: bold;
        }
        & Input { border: round $foreground 30%; background: transparent; border-title-color: $foreground 70%; }
        & Input:focus { border: round $accent; }
        & #buttons { height: 3; align-horizontal: center; margin-top: 0; }
        & Button { margin: 0 1; }
        & #message { color: $error; min-height: 1; text-align: center; width: 100%; }
        & #message.busy { color: $foreground 60%; }
        & OptionList { border: none; background: transparent; height: auto; max-height: 4; padding: 0; }
        & .hint { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "sign('up')", "Sign up", priority=True)]

    def __init__(
        self,
        accounts: RememberedAccounts,
        signed_in: SignedIn,
        *,
        server: str,
        username: str = "",
        message: ShownLine = NOTHING,
        tls: Tls = None,
        remembered: Sequence[RememberedAccount] = (),
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._signed_in = signed_in
        self._server = server
        self._username = username
        self._message = message
        self._tls: Tls = tls
        self._remembered = remembered

    def compose(self) -> ComposeResult:
        """Makes the form."""
        with Vertical(id="box") as box:
            box.border_title = "tidings"
            if self._remembered:
                yield Words(words(ShownLine("Go on as")), classes="hint")
                yield OptionList(*(Option(words(self._named(account))) for account in self._remembered), compact=True)
                yield Words(words(ShownLine("or as somebody else")), classes="hint")
            for id, title, value in (
                ("server", "Server", self._server),
                ("username", "Name", self._username),
                ("password", "Password", ""),
                ("display", "Shown to others as (for a new account)", ""),
            ):
                field = LineInput(value, id=id, password=id == "password")
                field.border_title = title
                yield field
            with Horizontal(id="buttons"):
                yield Button("Sign in", id="in", variant="primary")
                yield Button("Sign up", id="up")
            yield Words(words(self._message), id="message")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Puts the cursor where something is missing."""
        if self._remembered:
            self.query_one(OptionList).focus()
        else:
            self.query_one("#password" if self._username else "#username").focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.input.id in ("server", "username"):
            self.focus_next()
        else:
            self.action_sign("up" if event.input.id == "display" else "in")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.action_sign(event.button.id or "in")

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.run_worker(self._resume(self._remembered[event.option_index]), exclusive=True)

    def action_sign(self, how: str) -> None:
        """Signs in or up with the values of the form."""
        values = {field.id: field.value.strip() for field in self.query(Input)}
        server, username = values["server"], values["username"]
        password = self.query_one("#password", Input).value
        for id, value in (("server", server), ("username", username), ("password", password)):
            if not value:
                self._say(f"the {'name' if id == 'username' else id} is missing", focus=f"#{id}")
                return
        if ":" not in server:
            self._say("the server is given as HOST:PORT")
            return
        account = self._accounts.account(username, server)
        self.run_worker(self._sign(how, account, password, values["display"]), exclusive=True)

    async def _sign(self, how: str, account: RememberedAccount, password: str, display_name: str) -> None:
        if how == "up":
            await self._try(account, self._accounts.sign_up(account, password, display_name, self._tls))
        else:
            await self._try(account, self._accounts.log_in(account, password, self._tls))

    async def _resume(self, account: RememberedAccount) -> None:
        self.query_one("#server", Input).value = account.server
        self.query_one("#username", Input).value = account.username
        await self._try(account, self._accounts.resume(account, self._tls))

    async def _try(self, account: RememberedAccount, signing: Awaitable[Tidings]) -> None:
        self._say("one moment …", is_busy=True)
        try:
            client = await signing
        except SignedOutError:
            self._say(f"{account.username} is signed out here: the password, please", focus="#password")
        except TidingsError as error:
            self._say(explain(error))
        except OSError as error:
            self._say(f"{self._accounts.folder} cannot be used: {error.strerror}")
        else:
            self._signed_in(client, account)

    def _say(self, text: str, *, is_busy: bool = False, focus: str = "") -> None:
        if not self.is_current:
            # The program ended while the server was being asked.
            return
        message = self.query_one("#message", Words)
        message.set_class(is_busy, "busy")
        message.show(ShownLine(text))
        if focus:
            self.query_one(focus).focus()

    def _named(self, account: RememberedAccount) -> ShownLine:
        return ShownLine(f"{account.username}  at {account.server}")
