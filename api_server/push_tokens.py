"""Where each device wants its pushes."""

from __future__ import annotations

from tidings.core.errors import invalid
from tidings.core.limits import PUSH_TOKEN_CHARACTERS, check_text
from tidings.core.ports import PushTokenStore
from tidings.core.values import Identity, PushProvider, PushToken


class PushTokens:
    """The push tokens of devices, each call on behalf of one device."""

    def __init__(self, store: PushTokenStore) -> None:
        """Keeps them in `store`."""
        self._store = store

    async def register(self, caller: Identity, provider: int, token: str) -> None:
        """Keeps the calling device's token in place of an earlier one.

        Args:
            caller: The device.
            provider: The number of the provider that carries the push.
            token: What the provider gave the device.

        Raises:
            Refusal: INVALID_ARGUMENT for the provider or the token.
        """
        try:
            carrier = PushProvider(provider)
        except ValueError:
            names = ", ".join(each.name for each in PushProvider)
            raise invalid("provider", f"must be one of {names}", actual=provider) from None
        check_text("token", token, PUSH_TOKEN_CHARACTERS)
        await self._store.set(PushToken(caller.device_id, caller.user_id, carrier, token))

    async def unregister(self, caller: Identity) -> None:
        """Forgets the calling device's token, if there."""
        await self._store.remove(caller.device_id)
