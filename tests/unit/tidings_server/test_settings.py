"""Settings: one that has two names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidings_server.settings import SettingsError, load

_SINCE, _UNTIL = datetime(2026, 11, 24, 3, tzinfo=UTC), datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
_TOML = f"[{{ since = {_SINCE.isoformat()}, until = {_UNTIL.isoformat()} }}]"
_JSON = f'[{{"since": "{_SINCE.isoformat()}", "until": "{_UNTIL.isoformat()}"}}]'


@pytest.mark.parametrize("name", ["restored", "set_back"])
def test_restored_has_two_names_in_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text(f"{name} = {_TOML}\n")

    assert [(each.since, each.until) for each in load(file).restored] == [(_SINCE, _UNTIL)]


@pytest.mark.parametrize("name", ["TIDINGS_RESTORED", "TIDINGS_SET_BACK"])
def test_restored_has_two_names_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, _JSON)

    assert [(each.since, each.until) for each in load(None).restored] == [(_SINCE, _UNTIL)]


@pytest.mark.parametrize("name", ["RESTORED", "SET_BACK"])
def test_neither_name_is_taken_from_the_environment_without_the_prefix(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, _JSON)

    assert load(None).restored == ()


@pytest.mark.parametrize("in_file", ["restored set_back", "restored", "set_back", ""])
def test_under_both_names_it_is_refused_wherever_each_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_file: str
) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text("".join(f"{name} = {_TOML}\n" for name in in_file.split()))
    for name in {"restored", "set_back"} - set(in_file.split()):
        monkeypatch.setenv(f"TIDINGS_{name.upper()}", _JSON)

    with pytest.raises(
        SettingsError, match=r"^restored and set_back are two names of one setting: give restored alone$"
    ):
        load(file)
