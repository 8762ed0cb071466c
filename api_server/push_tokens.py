"""The push tokens of devices: where each wants its pushes."""

from __future__ import annotations

from tidings.core.errors import invalid
from tidings.core.limits import PUSH_TOKEN_CHARACTERS, check_text
from tidings.core.ports import PushTokenStore
from tidings.core.values import Identity, PushPreview, PushProvider, PushToken
from tidings.core.web_push import PushSubscription


class PushTokens:
    """The push tokens of devices, each call on behalf of one device.

    Args:
        store: Keeps them.
    """

    def __init__(self, store: PushTokenStore) -> None:
        self._store = store

    async def register(self, caller: Identity, provider: int, token: str, preview: int = 0) -> None:
        """Keeps the calling device's token in place of an earlier one.

        Args:
            caller: The device.
            provider: The number of the provider that carries the push.
            token: What the provider gave the device.
            preview: The number of the most that its pushes show; 0 for everything.

        Raises:
            Refusal: INVALID_ARGUMENT for the provider, the token or the preview.
        """
        try:
            carrier = PushProvider(provider)
        except ValueError:
            names = ", ".join(each.name for each in PushProvider)
            raise invalid("provider", f"must be one of {names}", actual=provider) from None
        check_text("token", token, PUSH_TOKEN_CHARACTERS)
        if carrier is PushProvider.WEB_PUSH:
            try:
                PushSubscription.parse(token)
            except ValueError as error:
                raise invalid("token", f"is no Web Push subscription: {error}") from None
        try:
            most = PushPreview(preview or PushPreview.FULL)
        except ValueError:
            names = ", ".join(each.name for each in PushPreview)
            raise invalid("preview", f"must be one of {names}, or unspecified", actual=preview) from None
        await self._store.set(PushToken(caller.device_id, caller.user_id, carrier, token, most))

    async def unregister(self, caller: Identity) -> None:
        """Forget the calling device's token, if there."""
        await self._store.remove(caller.device_id)
