"""The distributions as others get them: built from what they ship, installed where nothing else of this tree is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.e2e.test_readme import blocks, section
from tests.support.processes import ServerProcess

# What is built for one of these tests serves the others.
pytestmark = pytest.mark.xdist_group("install")

_ROOT = Path(__file__).parents[2]
_SECONDS = 240.0
_PROJECTS = ("protos", "clients/python", ".")
_SDK_NEEDS = {"googleapis-common-protos", "grpcio", "protobuf", "typing-extensions"}
"""The last is grpcio's."""
_EXTRAS = {
    "mesh": {"aetcd", "cassandra-driver", "hiredis", "psutil", "redis"},
    "chat": {"textual", "tidings-client"},
}
_MESH_CONFIG = _ROOT / "deploy" / "tidings.toml"
_TAKES_MORE = {
    "chat": "pip install 'tidings[chat]'",
    "chat --help": "pip install 'tidings[chat]'",
    "replay any.txt": "pip install 'tidings[chat]'",
    "cluster up --chat-servers 3": "pip install 'tidings[mesh]'",
    f"serve --config {_MESH_CONFIG} --services chat": "pip install 'tidings[mesh]'",
    f"push dead-letters list --config {_MESH_CONFIG}": "pip install 'tidings[mesh]'",
    "bench --quick": "in the source tree only",
    "simulate": "in the source tree only",
}
"""Commands that a server without extras cannot run, and what they say about it."""
# What is made here and is not in git, or is the business of this tree alone.
_LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "examples", "gen", "stubs", "tidings-data", "tests", "docs"
)
_BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
_IMPORT_ALL = """
import importlib, pathlib, sys
target = pathlib.Path(sys.argv[1])
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(target), module.__file__
    print(name)
"""
_LIST_INSTALLED = "from importlib.metadata import distributions; print(*(each.name for each in distributions()))"


def execute(*command: str | Path, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command; `path` is where it finds packages before all others."""
    env = {**os.environ, "PYTHONPATH": str(path or ""), "COLUMNS": "200"}
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        timeout=_SECONDS,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """What a command prints, which must succeed."""
    process = execute(*command, cwd=cwd, path=path)
    assert process.returncode == 0, process.stdout
    return process.stdout


class Environment:
    """A virtual environment with nothing in it yet; it takes distributions from folders alone."""

    def __init__(self, folder: Path, *sources: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.bin = folder / "bin"
        self.folder = folder
        self._sources = [f"--find-links={source}" for source in sources]

    def install(self, what: str) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet", "--no-compile")
        run(*pip, "--no-index", *self._sources, what, cwd=self.folder)

    def installed(self) -> set[str]:
        return set(map(_canonical, run(self.bin / "python", "-c", _LIST_INSTALLED, cwd=self.folder).split()))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree, without what building it has left in it: building writes into the tree that it builds."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return _LEFT_OUT(folder, names) | ({"internal", "v1"} if Path(folder) == _ROOT / "tidings" else set())

    return Path(shutil.copytree(_ROOT, tmp_path_factory.mktemp("copy") / "source", ignore=left_out))


@pytest.fixture(scope="module")
def dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distributions, and the wheels that were built from those."""
    folder = tmp_path_factory.mktemp("dist")
    for project in _PROJECTS:
        run(sys.executable, "-c", _BUILD_SDIST, folder, cwd=source / project)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, *folder.glob("*.tar.gz"), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What requirements.lock names, as wheels made of what is installed here: no network is needed."""
    folder = tmp_path_factory.mktemp("locked")
    for name in re.findall(r"^([\w.-]+)==", (_ROOT / "requirements.lock").read_text(), re.MULTILINE):
        try:
            _pack(distribution(name), folder)
        except PackageNotFoundError:
            # It is for another system.
            continue
    return folder


def _pack(installed: Distribution, folder: Path) -> None:
    """Makes a wheel of an installed distribution again, without what installing has added."""
    added = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}
    files = [
        each
        for each in installed.files or ()
        if ".." not in each.parts and each.suffix != ".pyc" and each.name not in added
    ]
    metadata = next(each.parent for each in files if each.name == "WHEEL")
    tags = re.findall(r"^Tag: (.*)-(.*)-(.*)$", installed.read_text("WHEEL") or "", re.MULTILINE)
    name = _canonical(installed.name).replace("-", "_")
    parts = (name, installed.version, *(".".join(dict.fromkeys(each)) for each in zip(*tags, strict=True)))
    with zipfile.ZipFile(folder / f"{'-'.join(parts)}.whl", "w") as wheel:
        for each in files:
            wheel.write(str(each.locate()), str(each))
        wheel.writestr(f"{metadata}/RECORD", "".join(f'"{each}",,\n' for each in files))


def _packages(tree: Path) -> set[str]:
    return {".".join(each.parent.relative_to(tree).parts) for each in tree.rglob("__init__.py")}


def _data(tree: Path) -> set[str]:
    """What is not Python: migrations, the log that ships, the mark of being typed."""
    wanted = re.compile(r".*\.(sql|cql|typed)|.*/data/.*")
    return {
        path for each in tree.rglob("*") if each.is_file() and wanted.fullmatch(path := str(each.relative_to(tree)))
    }


def _shipped(archive: Path) -> set[str]:
    with tarfile.open(archive) as contents:
        return {member.partition("/")[2] for member in contents.getnames()}


def test_the_distributions_hold_all_of_their_own_and_nothing_else(source: Path, dist: Path, tmp_path: Path) -> None:
    protos = {str(each.relative_to(source)) for each in (source / "protos").rglob("*.proto")}
    [server] = dist.glob("tidings-*.tar.gz")
    assert protos and protos | {"README.md", "pyproject.toml", "setup.py", "protos/generate.py"} <= _shipped(server)
    [stubs] = dist.glob("tidings_protos-*.tar.gz")
    public = {path.removeprefix("protos/") for path in protos if "/internal/" not in path}
    assert {path for path in _shipped(stubs) if path.endswith((".proto", ".py"))} == {
        *public,
        "generate.py",
        "setup.py",
    }

    tops = {}
    for wheel in dist.glob("*.whl"):
        with zipfile.ZipFile(wheel) as contents:
            name, names = wheel.name.partition("-")[0], contents.namelist()
            assert f"{name}-0.1.0.dist-info/licenses/LICENSE" in names
            tops[name] = {each.partition("/")[0] for each in names}
    metadata = {f"{name}-0.1.0.dist-info" for name in tops}
    assert {name: found - metadata for name, found in tops.items()} == {
        "tidings_protos": {"tidings"},
        "tidings_client": {"tidings_client"},
        "tidings": {
            "api_server",
            "chat_server",
            "discovery",
            "notifier",
            "presence_server",
            "tidings",
            "tidings_chat",
            "tidings_replay",
            "tidings_server",
        },
    }

    target = tmp_path / "target"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target)
    run(*pip, *dist.glob("*.whl"), cwd=tmp_path)
    clients = source / "clients" / "python"
    generated = {"tidings.v1", "tidings.internal.v1"}
    elsewhere = ("bench", "clients", "tools", "scripts", "protos")
    ours = {name for name in _packages(source) if not name.startswith(elsewhere)}
    expected = ours | _packages(clients) | generated
    assert _packages(target) == expected
    typed = {f"{name.replace('.', '/')}/py.typed" for name in generated}
    ours_too = {name for name in _data(source) if not name.startswith(elsewhere)}
    assert _data(target) == ours_too | _data(clients) | typed
    assert {"tidings/backends/sqlite/migrations/0001_accounts.sql", "tidings_client/py.typed"} <= _data(target)

    modules = sorted(expected | {"tidings.v1.chat_pb2", "tidings.v1.chat_pb2_grpc", "tidings.internal.v1.peer_pb2"})
    printed = run(sys.executable, "-c", _IMPORT_ALL, target, *modules, cwd=tmp_path, path=target)
    assert printed.split() == modules
    assert (target / "tidings" / "v1" / "chat_pb2.pyi").exists()


async def test_the_sdk_needs_little_and_runs_the_example_by_itself(
    dist: Path, locked: Path, folder: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "environment", dist, locked)
    environment.install("tidings-client")
    assert environment.installed() == {"tidings-client", "tidings-protos", *_SDK_NEEDS}
    async with ServerProcess(folder) as server:
        printed = await asyncio.to_thread(_run_example, environment.bin / "python", server.endpoint, tmp_path)
    assert printed == "Hello, Joan!\n"


def _run_example(python: str | Path, endpoint: str, folder: Path) -> str:
    [(_, code)] = blocks(section("With Python"))
    example = folder / "example.py"
    example.write_text(code.replace("127.0.0.1:7400", endpoint))
    return run(python, example, cwd=folder)


async def test_a_server_without_extras_serves_and_says_what_the_rest_takes(
    dist: Path, locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment(tmp_path / "environment", dist, locked)
    environment.install("tidings")
    extra = {name for names in _EXTRAS.values() for name in names}
    assert not environment.installed() & extra
    monkeypatch.chdir(tmp_path)
    program, data = environment.bin / "tidings", tmp_path / "data"
    async with ServerProcess(data, program=[program]) as server:
        printed = await asyncio.to_thread(_run_example, sys.executable, server.endpoint, tmp_path)
    assert printed == "Hello, Joan!\n"
    assert run(program, "push", "dead-letters", "list", "--data", data, "--json", cwd=tmp_path) == ""

    usage = run(program, "--help", cwd=tmp_path)
    assert all(command in usage for command in ("serve", "chat", "replay", "bench", "cluster"))
    assert all(f"pip install 'tidings[{name}]'" in usage for name in _EXTRAS)
    for command, remedy in _TAKES_MORE.items():
        process = execute(program, *command.split(), cwd=tmp_path)
        assert process.returncode == 1, command
        assert re.fullmatch(r"tidings: [^\n]+\n", process.stdout), process.stdout
        assert remedy in process.stdout, command

    environment.install("tidings[mesh,chat]")
    assert extra <= environment.installed()
    for command in ("chat", "replay", "cluster"):
        assert f"Usage: tidings {command}" in run(program, command, "--help", cwd=tmp_path)
