"""The application: it shows the sign-in screen or, to a signed-in user, the chat screen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from tidings.v1 import chat_pb2
from tidings_chat.accounts import RememberedAccount, RememberedAccounts
from tidings_chat.channels import ChatChannel
from tidings_chat.screens.chat import ChatScreen
from tidings_chat.screens.sign_in import SignInScreen
from tidings_chat.session import ChatSession
from tidings_chat.shown import NOTHING, ShownLine
from tidings_chat.text import count, explain
from tidings_client import ReplacedError, SignedOutError, Tidings, TidingsError, Tls


class ChatApp(App[None]):
    """The terminal application of `tidings chat`.

    Args:
        accounts: The accounts of this machine.
        server: HOST:PORT to sign in at.
        username: The user to sign in as, if that is known.
        message: The message on the sign-in screen.
        tls: How connections are secured.
        signed_in: A device to continue as, without a sign-in screen; the application closes it.
        remembered: Accounts to choose from on the sign-in screen.
    """

    TITLE = "tidings"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Footer { background: $boost; }
    ToastRack { dock: top; margin: 1 1 0 0; }
    Toast { width: 40; max-width: 50%; padding: 0 1; margin: 0 0 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True)]

    def __init__(
        self,
        accounts: RememberedAccounts,
        *,
        server: str,
        username: str = "",
        message: ShownLine = NOTHING,
        tls: Tls = None,
        signed_in: tuple[Tidings, RememberedAccount] | None = None,
        remembered: Sequence[RememberedAccount] = (),
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._server = server
        self._username = username
        self._message = message
        self._tls: Tls = tls
        self._first = signed_in
        self._remembered = remembered
        self._session: ChatSession | None = None
        self._holding: asyncio.Task[None] | None = None
        self._was_warned = False

    @property
    def session(self) -> ChatSession | None:
        """The session of the signed-in user; None when nobody is signed in."""
        return self._session

    async def on_mount(self) -> None:
        """Shows the first screen."""
        self.theme = "tokyo-night"
        if self._first is not None:
            await self._begin(*self._first)
        else:
            await self._ask(self._message, self._remembered)

    async def on_unmount(self) -> None:
        """Ends the session in good order, so that what was received is acknowledged and saved."""
        await self._end()

    async def action_quit(self) -> None:
        """Ends the program; when messages are still on their way, only at the second time."""
        unsent = self._session.unsent if self._session is not None else 0
        if unsent and not self._was_warned:
            self._was_warned = True
            text = f"{count(unsent, 'message')} not sent yet, which would be lost: Ctrl+Q again quits all the same"
            self.notify(text, severity="warning", markup=False)
            return
        await self._leave()

    def leave(self) -> None:
        """Ends the program in good order, whatever is on its way: the terminal is gone, or a signal came."""
        self.call_later(self._leave)

    async def _leave(self) -> None:
        await self._end()
        self.exit()

    # --- signing in and out -------------------------------------------------------------------------------------------

    async def _ask(self, message: ShownLine, remembered: Sequence[RememberedAccount] = ()) -> None:
        screen = SignInScreen(
            self._accounts,
            # Later, and not from within the screen, which is about to go.
            partial(self.call_later, self._begin),
            server=self._server,
            username=self._username,
            message=message,
            tls=self._tls,
            remembered=remembered,
        )
        await self._show(screen)

    async def _begin(self, client: Tidings, account: RememberedAccount) -> None:
        self._server, self._username = account.server, account.username
        self._was_warned = False
        session = self._session = ChatSession(client, _Forward(self))
        await self._show(ChatScreen(session, log_out=self._log_out, leave_app=self.action_quit))
        self._holding = asyncio.create_task(self._hold(session))

    async def _show(self, screen: ChatScreen | SignInScreen) -> None:
        while len(self.screen_stack) > 2:
            await self.pop_screen()
        if len(self.screen_stack) == 2:
            await self.switch_screen(screen)
        else:
            await self.push_screen(screen)

    async def _hold(self, session: ChatSession) -> None:
        try:
            async with session.client:
                await session.run()
            return
        except SignedOutError:
            message = ShownLine("this device has been signed out")
        except ReplacedError:
            message = ShownLine("this device is connected elsewhere too, from a copy of its file")
        except TidingsError as error:
            message = explain(error)
        except Exception as error:
            self._handle_exception(error)
            return
        self._session = self._holding = None
        # Later, and not from within this task, since the next screen may wait for it.
        self.call_later(self._ask, message)

    async def _end(self) -> None:
        session, holding = self._session, self._holding
        self._session = self._holding = None
        if session is not None and holding is not None:
            session.stop()
            await asyncio.wait({holding})

    async def _log_out(self) -> None:
        session = self._session
        if session is None:
            return
        # When the server cannot be asked, this raises, and the device stays signed in.
        await session.client.log_out()
        await self._end()
        self.call_later(self._ask, ShownLine("signed out"))


class _Forward:
    """Passes what the session tells to the chat screen, while there is one.

    Args:
        app: The application that may show the chat screen.
    """

    def __init__(self, app: ChatApp) -> None:
        self._app = app

    @property
    def _screen(self) -> ChatScreen | None:
        return next((screen for screen in self._app.screen_stack if isinstance(screen, ChatScreen)), None)

    def changed(self) -> None:
        """Shows the model as it is now, and the status."""
        if (screen := self._screen) is not None:
            screen.changed()

    def arrived(self, channel: ChatChannel, message: chat_pb2.Message) -> None:
        """Announces a message that somebody else has just written."""
        if (screen := self._screen) is not None:
            screen.arrived(channel, message)

    def appeared(self, channel: ChatChannel) -> None:
        """Announces a channel that came up while the user was connected."""
        if (screen := self._screen) is not None:
            screen.appeared(channel)

    def failed(self, text: ShownLine) -> None:
        """Tells, in words, what did not work."""
        if (screen := self._screen) is not None:
            screen.failed(text)
