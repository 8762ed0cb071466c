"""The tree keeps the shape that CONTRIBUTING.md describes."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PRODUCT = (
    "api_server",
    "bench",
    "chat_server",
    "clients/python",
    "discovery",
    "notifier",
    "presence_server",
    "tidings",
    "tidings_server",
)
_GENERATED = ("tidings/v1", "tidings/internal", "build")
_LONG = {"chat_server/channels/rules.py", "clients/python/tidings_client/_client.py"}
# Names that applications import from the SDK, which shares no code with the servers.
_PUBLIC_IN_THE_SDK = {"FieldViolation", "Presence"}
_MOST_LINES = 400
_MOST_LINES_OF_A_FUNCTION = 60


@cache
def _modules() -> dict[str, ast.Module]:
    found = {}
    for folder in _PRODUCT:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            name = path.relative_to(_ROOT).as_posix()
            if not any(f"/{each}/" in f"/{name}" for each in _GENERATED):
                found[name] = ast.parse(path.read_text())
    return found


def test_no_module_is_long() -> None:
    sizes = {name: len((_ROOT / name).read_text().splitlines()) for name in _modules() if name not in _LONG}
    assert {name: size for name, size in sizes.items() if size > _MOST_LINES} == {}


def test_no_function_is_long() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > _MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_no_class_name_means_two_things() -> None:
    places = defaultdict(list)
    for name, tree in _modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in _PUBLIC_IN_THE_SDK}
    assert twice == {}


def test_no_log_has_the_message_of_an_exception_in_a_traceback() -> None:
    """It may hold a text or a token: `without_message` takes it out."""
    found = []
    for name, tree in _modules().items():
        if name.startswith(("clients/", "bench/")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                shown = [each.value for each in node.keywords if each.arg == "exc_info"]
                bare = all("without_message" in ast.unparse(value) for value in shown)
                if not bare or (node.func.attr == "exception" and ast.unparse(node.func.value) == "_log"):
                    found.append(f"{name}:{node.lineno}")
    assert found == []
