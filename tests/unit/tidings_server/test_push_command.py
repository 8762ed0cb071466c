"""What `tidings push` prints: a provider's words are in it."""

from __future__ import annotations

import unicodedata

import pytest

from tidings.core.ports import DeadLetter, DevicePush
from tidings.core.values import PushProvider, PushRequest
from tidings_server.push_command import _show


@pytest.mark.parametrize("reason", ["[/x]", "EVIL\x1b]0;pwned\x07\x1b[2J\u202e\r\n[/]", "[bold]"])
def test_a_providers_reason_commands_no_terminal(
    reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    push = DevicePush(PushRequest("u1", "g1", 7, "u9", "", 0), "v1", PushProvider.WEB_PUSH)
    _show([DeadLetter(1, push, 2, reason, 0)], 1)
    out = capsys.readouterr().out
    assert reason[:4] in out
    assert {unicodedata.category(each) for each in out.replace("\n", "")}.isdisjoint({"Cc", "Cf"})
