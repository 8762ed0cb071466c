"""Every refusal has a reason that the contract knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidings.core.reasons import Reason
from tidings.v1 import errors_pb2

_ROOT = Path(__file__).parents[4]
_PACKAGES = (
    "api_server",
    "chat_server",
    "discovery",
    "notifier",
    "presence_server",
    "tidings/backends",
    "tidings/core",
    "tidings/mesh",
    "tidings/rpc",
    "tidings_server",
)
_PREFIX = "ERROR_REASON_"
# What makes a refusal, and the place of the reason among its arguments; None where it gives one of its own.
_REFUSALS = {"Refusal": 2, "unauthenticated": 1, "precondition": 1, "denied": 1, "unavailable": 1}


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def _reasons_given() -> Iterator[tuple[str, ast.expr | None]]:
    """Where a refusal is made, and the expression of its reason."""
    for path, tree in _sources():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _REFUSALS:
                place = _REFUSALS[call.func.id]
                given = next((each.value for each in call.keywords if each.arg == "reason"), None)
                if given is None and len(call.args) > place:
                    given = call.args[place]
                yield f"{path.relative_to(_ROOT)}:{call.lineno}", given


def test_the_contract_and_the_servers_know_the_same_reasons() -> None:
    known = {name.removeprefix(_PREFIX) for name, number in errors_pb2.ErrorReason.items() if number}
    assert known == {each.value for each in Reason}
    assert all(each.name == each.value for each in Reason)


def test_every_refusal_has_a_reason_of_the_enum() -> None:
    wrong = [
        where
        for where, given in _reasons_given()
        if given is None or (isinstance(given, ast.Constant) and not isinstance(given.value, Reason))
    ]
    # A status from another server is read there; its reason is filled in when its details have been.
    assert [each for each in wrong if not each.startswith("tidings/rpc/status.py")] == []


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given_somewhere(reason: Reason) -> None:
    uses = (
        isinstance(node, ast.Attribute)
        and node.attr == reason.name
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
        for _, tree in _sources()
        for node in ast.walk(tree)
    )
    assert any(uses)
