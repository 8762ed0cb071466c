"""What README.md and docs/ refer to is there, and what they say about settings is so."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tidings_server.settings import RateSettings, Settings

_ROOT = Path(__file__).parents[2]
_PAGES = [*sorted(_ROOT.glob("*.md")), *sorted((_ROOT / "docs").rglob("*.md"))]
_GUARANTEES = (_ROOT / "docs" / "guarantees.md").read_text()
_TEST = re.compile(r"`(tests/(?:\w+/)+test_\w+\.py)::(\w+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)\s]*)?\)")
_MODULE = re.compile(r"`((?:[a-z_]+/)+\w+\.py)`")
_MAKE = re.compile(r"(?:`|^)make ([a-z]+)", re.MULTILINE)


def _outside_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@cache
def _anchors(page: Path) -> set[str]:
    text = _outside_code(page.read_text())
    return {_slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)} | set(
        re.findall(r'<a id="([^"]+)"></a>', text)
    )


@cache
def _names(file: Path) -> set[str]:
    """The tests that a file has: functions, and cases that hypothesis makes of a machine."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _sections(text: str, mark: str) -> dict[str, str]:
    """By heading, what stands below it."""
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("file", "name"), sorted(set(_TEST.findall(_GUARANTEES))))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in _names(_ROOT / file)


def test_every_promise_and_every_answer_names_its_tests() -> None:
    sections = _sections(_GUARANTEES, "##")
    answers = _sections(sections.pop("Defined answers"), "###")
    # What is not promised needs no test.
    del sections["What this rests on"], sections["Known limits"]
    numbers = [int(heading.split(".")[0]) for heading in sections]
    assert numbers == sorted(set(numbers)) and {*range(1, 10), 13} <= set(numbers)
    without = [heading for heading, body in {**sections, **answers}.items() if not _TEST.search(body)]
    assert without == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(_outside_code(page.read_text())):
        if "://" in target:
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            assert anchor.removeprefix("#") in _anchors(there), f"{target}{anchor}"


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_modules_that_are_named_exist(page: Path) -> None:
    named = set(_MODULE.findall(page.read_text()))
    assert {name for name in named if not any((root / name).exists() for root in (_ROOT, _CLIENTS))} == set()


def test_the_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text().splitlines()) < 250


def test_every_decision_is_in_the_index() -> None:
    folder = _ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    assert [name[:4] for name in listed] == [f"{number:04}" for number in range(1, len(listed) + 1)]


def test_make_knows_what_the_readme_tells_to_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (_ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(_MAKE.findall((_ROOT / "README.md").read_text()))
    assert {"run", "test", "demo"} <= told <= targets


def test_the_table_of_settings_is_the_settings() -> None:
    body = (_ROOT / "docs" / "settings.md").read_text()
    shown = dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", body, re.MULTILINE))
    assert shown == dict(_defaults(Settings, ""))


_CLIENTS = _ROOT / "clients" / "python"


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _defaults(model: type[BaseModel], prefix: str) -> list[tuple[str, str]]:
    found = []
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel) and not isinstance(default, RateSettings):
            found += _defaults(type(default), f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", "none" if default is None else f"`{_toml(default)}`"))
    return found


def _toml(value: Any) -> str:
    match value:
        case BaseModel():
            return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value) + " }"
        case dict():
            return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + " }"
        case tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case Path():
            return _toml(str(value))
        case _:
            return json.dumps(value)
