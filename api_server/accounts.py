"""The rules of accounts: who may sign in, with which proof, on which devices."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from api_server.account_values import DeviceToSignIn, SignedIn, Tokens, UsersPage
from api_server.passwords import Passwords
from api_server.throttle import AccountLimits, Allowance, FailureThrottle, SharedCounts
from tidings.core.clock import Clock
from tidings.core.errors import (
    Code,
    FieldViolation,
    Refusal,
    device_revoked,
    invalid,
    not_found,
    precondition,
    unauthenticated,
)
from tidings.core.ids import check_client_id, new_device_id, new_user_id
from tidings.core.limits import (
    ABOUT_CHARACTERS,
    ATTEMPT_ID_CHARACTERS,
    NAME_CHARACTERS,
    PASSWORD_CHARACTERS,
    USER_DEVICES,
    USERNAME_CHARACTERS,
    USERS_PAGE,
    USERS_PAGE_DEFAULT,
    check_text,
    page_size,
)
from tidings.core.page_tokens import page_place, page_token
from tidings.core.ports import (
    AccountStore,
    Credentials,
    DeviceStreams,
    Recommender,
    RefreshTokenReused,
    SharedRates,
    TooManyDevices,
    UsernameTaken,
)
from tidings.core.reasons import Reason
from tidings.core.search_keys import search_key
from tidings.core.shown_text import cleaned_line, shown_line
from tidings.core.values import Device, Identity, Server, ServerKind, User
from tidings.rpc.tasks import to_the_end
from tidings.rpc.tokens import Revocations, TokenIssuer

_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFRESH_TOKEN_BYTES = 32


class Accounts:
    """Users, devices and sign-in. `AccountService` in the contract says what each method promises.

    Args:
        store: Keeps accounts.
        passwords: Hashes passwords.
        tokens: Makes access tokens.
        revocations: Refuse the access tokens of signed-out devices on this server.
        streams: Ends the streams of signed-out devices, on every server.
        recommender: Names the servers that a device may use.
        clock: Tells the time.
        limits: How often sign-up and log-in may be tried.
        shared_rates: Counts these over all api servers; None where there is one.
    """

    def __init__(
        self,
        store: AccountStore,
        passwords: Passwords,
        tokens: TokenIssuer,
        revocations: Revocations,
        streams: DeviceStreams,
        recommender: Recommender,
        clock: Clock,
        limits: AccountLimits,
        shared_rates: SharedRates | None = None,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._revocations = revocations
        self._streams = streams
        self._recommender = recommender
        self._clock = clock
        shared = SharedCounts(shared_rates)
        self._sign_ups = Allowance("new accounts from this address", limits.sign_ups, clock, shared)
        self._throttle = FailureThrottle(limits, clock, shared)

    async def sign_up(
        self, username: str, password: str, display_name: str, device: DeviceToSignIn, address: str
    ) -> SignedIn:
        """Creates a user and signs the device in.

        Args:
            username: Capitals are folded.
            password: The password.
            display_name: The username when empty.
            device: What signs in.
            address: Where the call comes from.

        Raises:
            Refusal: INVALID_ARGUMENT, ALREADY_EXISTS or, from an address that makes too many, RESOURCE_EXHAUSTED.
        """
        _check_new_username(username)
        check_text("password", password, PASSWORD_CHARACTERS[1], PASSWORD_CHARACTERS[0])
        display_name = shown_line("display_name", display_name, NAME_CHARACTERS, least=0)
        device = _with_clean_name(device)
        await self._sign_ups.spend(address)
        username = _folded(username)
        # Known before the hash is paid for; that it still holds is for the store to see.
        if await self._store.credentials(username) is not None:
            raise _username_taken()
        password_hash = await self._passwords.hash(password, address)
        now = self._clock.wall_ms()
        user = User(new_user_id(), username, display_name or username, "", now)
        kept = Device(new_device_id(), user.user_id, device.device_name, device.platform, now, now, epoch=1)
        refresh_token = _new_refresh_token()
        try:
            await self._store.create_user(user, password_hash, kept, _hash(refresh_token))
        except UsernameTaken as error:
            raise _username_taken() from error
        return SignedIn(user, kept.device_id, self._issue(kept, refresh_token), self._servers())

    async def log_in(self, username: str, password: str, device: DeviceToSignIn, address: str) -> SignedIn:
        """Signs a device in.

        Args:
            username: Capitals do not matter.
            password: The password.
            device: What signs in.
            address: Where the call comes from.

        Raises:
            Refusal: UNAUTHENTICATED, in the same words for a wrong name and a wrong password; RESOURCE_EXHAUSTED after
                too many failures; FAILED_PRECONDITION for one device too many; INVALID_ARGUMENT.
        """
        check_text("username", username, USERNAME_CHARACTERS[1])
        check_text("password", password, PASSWORD_CHARACTERS[1])
        device = _with_clean_name(device)
        account = _folded(username)
        await self._throttle.check(account, address)
        credentials = await self._store.credentials(account)
        password_hash = credentials.password_hash if credentials else None
        matches = await self._passwords.verify(password_hash, password, address)
        await self._throttle.check(account, address)
        if credentials is None or not matches:
            await self._throttle.failed(account, address)
            raise _wrong_credentials()
        return await to_the_end(self._sign_in(credentials, password, device))

    async def refresh_tokens(self, refresh_token: str, attempt_id: str = "") -> Tokens:
        """Trades a refresh token for new tokens.

        Args:
            refresh_token: Works once.
            attempt_id: Whoever knows it may ask again, and is given the same refresh token again; nobody when empty.

        Raises:
            Refusal: UNAUTHENTICATED, reason REFRESH_TOKEN_INVALID or REFRESH_TOKEN_REUSED; INVALID_ARGUMENT.
        """
        if not refresh_token:
            raise invalid("refresh_token", "must not be empty")
        if attempt_id:
            least, most = ATTEMPT_ID_CHARACTERS
            check_client_id("attempt_id", attempt_id, most, least)
        return await to_the_end(self._refresh(refresh_token, attempt_id))

    async def log_out(self, caller: Identity) -> None:
        """Sign the calling device out."""
        await to_the_end(self._revoke(caller.user_id, caller.device_id))

    async def user(self, user_id: str) -> User:
        """One user.

        Raises:
            Refusal: NOT_FOUND.
        """
        found = (await self._store.users([user_id])).get(user_id)
        if found is None:
            raise not_found("user", "user_id")
        return found

    async def search(self, caller: Identity, prefix: str, size: int, token: str) -> UsersPage:
        """Users whose username or display name begins with a prefix, ordered by username.

        Args:
            caller: Who asks; people who blocked them are left out.
            prefix: In whichever case, with or without accents. One of accents alone finds nobody.
            size: The size of the page; 0 for the default.
            token: The `next_page_token` of the page before; empty for the first.

        Raises:
            Refusal: INVALID_ARGUMENT.
        """
        check_text("prefix", prefix, NAME_CHARACTERS)
        limit = page_size(size, USERS_PAGE_DEFAULT, USERS_PAGE)
        prefix = search_key(prefix)
        if not prefix:
            return UsersPage((), "")
        # A page ends with a username, and that is where the next begins.
        of = f"users {caller.user_id} {prefix}"
        found = await self._store.search(prefix, page_place(of, token) if token else "", limit + 1, caller.user_id)
        return UsersPage(found[:limit], page_token(of, found[limit - 1].username) if len(found) > limit else "")

    async def update_profile(self, caller: Identity, display_name: str | None, about: str | None) -> User:
        """Changes what is not None.

        Raises:
            Refusal: INVALID_ARGUMENT.
        """
        if display_name is not None:
            display_name = shown_line("display_name", display_name, NAME_CHARACTERS)
        if about is not None:
            about = shown_line("about", about, ABOUT_CHARACTERS, least=0)
        return await self._store.update_profile(caller.user_id, display_name, about)

    async def change_password(self, caller: Identity, old_password: str, new_password: str, address: str) -> Tokens:
        """Changes the password, signs every other device out and gives this one new tokens.

        Raises:
            Refusal: UNAUTHENTICATED for a wrong old password, RESOURCE_EXHAUSTED after too many of those,
                INVALID_ARGUMENT, ABORTED when the password was changed at the same time.
        """
        check_text("old_password", old_password, PASSWORD_CHARACTERS[1])
        check_text("new_password", new_password, PASSWORD_CHARACTERS[1], PASSWORD_CHARACTERS[0])
        # Not the account's own count: who has stolen a token must not keep its owner from logging in.
        account = f"change {caller.user_id}"
        await self._throttle.check(account, address)
        old_hash = await self._store.password_hash(caller.user_id)
        matches = await self._passwords.verify(old_hash, old_password, address)
        await self._throttle.check(account, address)
        if old_hash is None or not matches:
            await self._throttle.failed(account, address)
            raise unauthenticated("the old password is wrong", Reason.WRONG_PASSWORD)
        new_hash = await self._passwords.hash(new_password, address)
        return await to_the_end(self._change_password(caller, old_hash, new_hash))

    async def devices(self, caller: Identity) -> Sequence[Device]:
        """List the caller's devices that are signed in, oldest first."""
        return await self._store.devices(caller.user_id)

    async def revoke_device(self, caller: Identity, device_id: str) -> None:
        """Signs one of the caller's devices out.

        Raises:
            Refusal: NOT_FOUND when it is not the caller's, or not signed in.
        """
        if not await to_the_end(self._revoke(caller.user_id, device_id)):
            raise not_found("device", "device_id")

    async def _sign_in(self, credentials: Credentials, password: str, device: DeviceToSignIn) -> SignedIn:
        """Sign a device in with a new refresh token, and name the servers that it may use."""
        user, password_hash = credentials.user, credentials.password_hash
        if self._passwords.is_outdated(password_hash):
            fresh = await self._passwords.hash(password, user.user_id)
            await self._store.rehash_password(user.user_id, password_hash, fresh)
            password_hash = fresh
        now = self._clock.wall_ms()
        refresh_token = _new_refresh_token()
        asked = Device(device.device_id, user.user_id, device.device_name, device.platform, now, now)
        try:
            kept = await self._store.sign_in_device(asked, _hash(refresh_token), USER_DEVICES)
        except TooManyDevices as error:
            raise precondition(
                f"the user has {USER_DEVICES} devices, as many as allowed: sign one out first",
                Reason.TOO_MANY_DEVICES,
                limit=USER_DEVICES,
            ) from error
        tokens = self._issue(kept, refresh_token)
        # A change of password signs out what is signed in; this device may have come just after it, with the old one.
        current = await self._store.password_hash(user.user_id)
        may_stay = False
        try:
            may_stay = current == password_hash or await self._passwords.verify(current, password, user.user_id)
        finally:
            # It goes as well when nobody can tell, since the check has had no turn.
            if not may_stay:
                await self._revoke(user.user_id, kept.device_id)
        if not may_stay:
            raise _wrong_credentials()
        return SignedIn(user, kept.device_id, tokens, self._servers())

    async def _refresh(self, spent: str, attempt_id: str) -> Tokens:
        # What follows from the attempt need not be kept to be given again. A thief who has only the spent token cannot
        # ask for it, and one who guesses a careless client's attempts still has to ask: it follows from a secret too.
        refresh_token = self._tokens.secret_of(f"{attempt_id} {spent}") if attempt_id else _new_refresh_token()
        try:
            device = await self._store.rotate_refresh_token(_hash(spent), _hash(refresh_token), self._clock.now_ms())
        except RefreshTokenReused as error:
            await self._end(error.revoked)
            raise unauthenticated(
                "the refresh token was used before: the device has been signed out", Reason.REFRESH_TOKEN_REUSED
            ) from error
        if device is None:
            raise unauthenticated("the refresh token is not valid", Reason.REFRESH_TOKEN_INVALID)
        return self._issue(device, refresh_token)

    async def _revoke(self, user_id: str, device_id: str) -> bool:
        epoch = await self._store.revoke_device(user_id, device_id)
        if epoch is None:
            return False
        await self._end({device_id: epoch})
        return True

    async def _change_password(self, caller: Identity, old_hash: str, new_hash: str) -> Tokens:
        revoked = await self._store.set_password(caller.user_id, old_hash, new_hash, caller.device_id)
        if revoked is None:
            raise Refusal(Code.ABORTED, "the password was changed at the same time", reason=Reason.PASSWORD_CHANGED)
        await self._end(revoked)
        refresh_token = _new_refresh_token()
        epoch = await self._store.replace_refresh_token(caller.device_id, _hash(refresh_token))
        if epoch is None:
            raise device_revoked()
        access_token, expires_at_ms = self._tokens.issue(caller.user_id, caller.device_id, epoch)
        return Tokens(access_token, refresh_token, expires_at_ms)

    async def _end(self, revoked: Mapping[str, int]) -> None:
        # First: a device whose stream has ended comes back at once.
        self._revocations.add(revoked)
        await self._streams.end_devices(revoked)

    def _issue(self, device: Device, refresh_token: str) -> Tokens:
        access_token, expires_at_ms = self._tokens.issue(device.user_id, device.device_id, device.epoch)
        return Tokens(access_token, refresh_token, expires_at_ms)

    def _servers(self) -> Sequence[Server]:
        return self._recommender.recommend(ServerKind.CHAT)


def _check_new_username(username: str) -> None:
    least, most = USERNAME_CHARACTERS
    check_text("username", username, most, least)
    if not _USERNAME.fullmatch(username):
        raise invalid(
            "username", "may have a-z, 0-9, dot, underscore and hyphen only, and begins with a letter or digit"
        )


def _with_clean_name(device: DeviceToSignIn) -> DeviceToSignIn:
    # Cleaned and not refused: it is often the name that the device has by itself, and nobody must be kept out by it.
    return replace(device, device_name=cleaned_line("device_name", device.device_name, NAME_CHARACTERS))


def _folded(username: str) -> str:
    # Beyond ASCII some capitals fold to ASCII letters (the Kelvin sign to k): such names are nobody's.
    return username.lower() if username.isascii() else username


def _new_refresh_token() -> str:
    return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)


def _hash(refresh_token: str) -> bytes:
    # The token is random through and through: a fast hash is as good as a slow one.
    return hashlib.sha256(refresh_token.encode()).digest()


def _username_taken() -> Refusal:
    return Refusal(
        Code.ALREADY_EXISTS,
        "username: somebody has it already",
        reason=Reason.USERNAME_TAKEN,
        violations=(FieldViolation("username", "somebody has it already"),),
    )


def _wrong_credentials() -> Refusal:
    return unauthenticated("wrong username or password", Reason.WRONG_CREDENTIALS)
