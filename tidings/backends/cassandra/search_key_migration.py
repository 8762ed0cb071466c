"""The step of migration 6 that CQL cannot do: it enters the names of users by their search keys."""

from __future__ import annotations

from collections.abc import Callable

from cassandra.cluster import Session

from tidings.backends.cassandra.name_rows import ENTER, entered
from tidings.core.search_keys import search_key
from tidings.core.values import User

_USERS = "SELECT DISTINCT user_id, username, display_name, names FROM accounts"
# How many users are looked at before the lock is renewed.
_TOGETHER = 100


def enter_search_keys(session: Session, renew: Callable[[], None]) -> None:
    """Enter the users whose names were kept in small letters, with accents, by their search keys.

    What they were found by before is left: nobody asks for it any more. Doing this twice does no harm.

    Args:
        session: A session of the driver on the keyspace; it blocks.
        renew: Renews the lock of the migrations.
    """
    enter = session.prepare(ENTER)
    for count, (user_id, username, display_name, names) in enumerate(session.execute(_USERS)):
        if count % _TOGETHER == 0:
            renew()
        # A partition may hold a push token and no account.
        if username is None or search_key(display_name) == display_name.lower():
            continue
        for values in entered(User(user_id, username, display_name, "", 0), names):
            session.execute(enter, values)
