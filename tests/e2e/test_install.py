"""The package as others get it: a source distribution, installed where nothing else of this tree is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SECONDS = 240.0
# What is made here and is not in git, or is the business of this tree alone.
_LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "gen", "tidings-data", "tests", "docs"
)
_GENERATED = {"v1", "internal"}
_BUILD_SDIST = "from setuptools import build_meta; print(build_meta.build_sdist('../dist'))"
_IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
target = pathlib.Path(sys.argv[1])
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(target), module.__file__
    print(name)
"""


async def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """What a command prints, which must succeed; `path` is where it finds packages before all others."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(path or "")},
    )
    async with asyncio.timeout(_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def _copy(to: Path) -> None:
    """This tree, without what building it has left in it: building writes into the tree that it builds."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return _LEFT_OUT(folder, names) | (_GENERATED if Path(folder) == _ROOT / "tidings" else set())

    shutil.copytree(_ROOT, to, ignore=left_out)


def _packages(tree: Path) -> set[str]:
    return {".".join(each.parent.relative_to(tree).parts) for each in tree.rglob("__init__.py")}


def _data(tree: Path) -> set[str]:
    """What is not Python: migrations, the log that ships, the mark of being typed."""
    wanted = re.compile(r".*\.(sql|cql|typed)|.*/data/.*")
    return {
        path for each in tree.rglob("*") if each.is_file() and wanted.fullmatch(path := str(each.relative_to(tree)))
    }


async def test_a_source_distribution_installs_whole_into_an_empty_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    _copy(source)
    (tmp_path / "dist").mkdir()
    name = (await run(sys.executable, "-c", _BUILD_SDIST, cwd=source)).splitlines()[-1]
    archive = tmp_path / "dist" / name
    with tarfile.open(archive) as contents:
        shipped = {member.partition("/")[2] for member in contents.getnames()}
    protos = {str(each.relative_to(source)) for each in (source / "protos").rglob("*.proto")}
    assert protos and protos | {"README.md", "pyproject.toml", "setup.py", "protos/generate.py"} <= shipped

    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    await run(*pip, "--target", target, archive, cwd=tmp_path)

    clients = source / "clients" / "python"
    stubs = {"tidings.v1", "tidings.internal", "tidings.internal.v1"}
    ours = {name for name in _packages(source) if not name.startswith(("clients", "tools", "scripts", "protos"))}
    expected = ours | _packages(clients) | stubs
    assert _packages(target) == expected
    assert _data(target) == {name for name in _data(source) if not name.startswith("clients/")} | _data(clients)
    assert {"tidings/backends/sqlite/migrations/0001_accounts.sql", "tidings_client/py.typed"} <= _data(target)

    modules = sorted(expected | {"tidings.v1.chat_pb2", "tidings.v1.chat_pb2_grpc", "tidings.internal.v1.peer_pb2"})
    printed = await run(sys.executable, "-c", _IMPORT_ALL, target, *modules, cwd=tmp_path, path=target)
    assert printed.split() == modules
    assert (target / "tidings" / "v1" / "chat_pb2.pyi").exists()

    usage = await run(target / "bin" / "tidings", "--help", cwd=tmp_path, path=target)
    assert all(command in usage for command in ("serve", "chat", "replay", "bench"))
    await run(target / "bin" / "tidings", "serve", "--help", cwd=tmp_path, path=target)
