"""The accounts of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings_chat.accounts import RememberedAccounts, default_folder


def test_accounts_are_found_again_by_name_and_server(tmp_path: Path) -> None:
    accounts = RememberedAccounts(tmp_path)
    made = [
        accounts.account(name, server)
        for name, server in (("Ana", "127.0.0.1:7400"), ("ben", "127.0.0.1:7400"), ("ana", "[::1]:7400"))
    ]
    assert accounts.remembered() == []
    for account in made:
        account.path.touch()
    assert {(each.username, each.server) for each in accounts.remembered()} == {
        ("ana", "127.0.0.1:7400"),
        ("ben", "127.0.0.1:7400"),
        ("ana", "[::1]:7400"),
    }
    assert [each.server for each in accounts.remembered("ANA", "[::1]:7400")] == ["[::1]:7400"]
    assert len({account.path for account in made}) == 3
    assert all(account.path.parent == tmp_path for account in made)


def test_sign_ins_are_kept_where_the_user_wants_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tidings" / "chat"
    # Relative paths are to be ignored, says the specification.
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "share" / "tidings" / "chat"
