"""What the SDK keeps on the disk."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tidings.v1 import account_pb2, discovery_pb2
from tidings_client._errors import TidingsError
from tidings_client._progress import Progress, ProgressUpdate
from tidings_client._storage import SavedDevice, Storage


def device(device_id: str = "d1", user_id: str = "u1", access_token: str = "a") -> SavedDevice:
    return SavedDevice(
        "127.0.0.1:1",
        account_pb2.User(user_id=user_id, username="ann"),
        device_id,
        account_pb2.Tokens(access_token=access_token, refresh_token="r"),
        [discovery_pb2.Server(server_id="s1", endpoint="127.0.0.1:2")],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ann.tidings"


def reopened(path: Path) -> tuple[SavedDevice | None, Progress]:
    storage = Storage(path)
    try:
        return storage.device(), storage.progress()
    finally:
        storage.close()


def in_another_process(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)


def test_a_new_file_knows_nobody(path: Path) -> None:
    Storage(path).close()
    assert reopened(path) == (None, Progress())


def test_what_is_saved_is_there_again(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(1 << 63, {"a": 3, "b": 9}, anew=False))
    storage.save_progress(ProgressUpdate((1 << 64) - 1, {"a": 4}, anew=False))
    storage.save_servers([discovery_pb2.Server(server_id="s2")])
    storage.save_tokens(account_pb2.Tokens(access_token="newer"))
    storage.close()
    expected = device(access_token="newer")
    expected.tokens = account_pb2.Tokens(access_token="newer")
    expected.servers = [discovery_pb2.Server(server_id="s2")]
    assert reopened(path) == (expected, Progress((1 << 64) - 1, {"a": 4, "b": 9}))


def test_a_step_that_starts_anew_forgets_the_other_channels(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(5, {"a": 3, "b": 9}, anew=False))
    storage.save_progress(ProgressUpdate(7, {"b": 2}, anew=True))
    assert storage.progress() == Progress(7, {"b": 2})
    storage.close()


def test_a_step_that_fails_changes_nothing_and_harms_no_later_one(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(5, {"a": 3}, anew=False))
    with pytest.raises(OverflowError):
        storage.save_progress(ProgressUpdate(6, {"b": 1, "a": 1 << 70}, anew=True))
    assert storage.progress() == Progress(5, {"a": 3})
    storage.save_progress(ProgressUpdate(6, {"a": 4}, anew=False))
    assert storage.progress() == Progress(6, {"a": 4})
    storage.close()


def test_the_same_device_signs_in_again_and_goes_on(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(5, {"a": 3}, anew=False))
    storage.save_tokens(None)
    signed_out = storage.device()
    assert signed_out is not None
    assert signed_out.tokens is None
    storage.save_device(device(access_token="newer"))
    storage.close()
    assert reopened(path) == (device(access_token="newer"), Progress(5, {"a": 3}))


@pytest.mark.parametrize("other", [device(device_id="d2"), device(user_id="u2")])
def test_another_device_starts_from_the_beginning(path: Path, other: SavedDevice) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(5, {"a": 3}, anew=False))
    storage.save_device(other)
    storage.close()
    assert reopened(path) == (other, Progress())


def test_without_a_file_everything_is_in_memory_and_nothing_is_shared() -> None:
    one, another = Storage(None), Storage(None)
    one.save_device(device())
    assert one.device() == device()
    assert another.device() is None
    one.close()
    another.close()


def test_nobody_else_may_read_it(path: Path) -> None:
    path.touch(mode=0o644)
    storage = Storage(path)
    storage.save_device(device())
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    storage.close()
    assert modes == {"ann.tidings": 0o600, "ann.tidings-wal": 0o600}


def test_one_process_at_a_time(path: Path) -> None:
    open_here = Storage(path)
    with pytest.raises(TidingsError, match="is open in another process") as in_use:
        Storage(path)
    assert in_use.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert in_use.value.reason == "STATE_IN_USE"
    # Locks within a process and between two are not the same thing to SQLite.
    there = in_another_process("import sys; from tidings_client._storage import Storage; Storage(sys.argv[1])", path)
    assert "is open in another process" in there.stderr
    # Whoever was turned away has not taken the lock along.
    open_here.save_device(device())
    open_here.close()
    assert reopened(path) == (device(), Progress())


def test_a_crash_of_the_process_loses_nothing(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.close()
    code = (
        "import os, sys\n"
        "from tidings_client._progress import ProgressUpdate\n"
        "from tidings_client._storage import Storage\n"
        "storage = Storage(sys.argv[1])\n"
        "for cursor in range(1, 101): storage.save_progress(ProgressUpdate(cursor, {'a': cursor}, False))\n"
        "os._exit(7)"
    )
    assert in_another_process(code, path).returncode == 7
    assert reopened(path) == (device(), Progress(100, {"a": 100}))


def test_an_attempt_to_renew_is_the_same_until_there_are_new_tokens(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    attempt = storage.attempt()
    assert len(attempt) >= 22
    assert storage.attempt() == attempt
    storage.close()
    storage = Storage(path)
    assert storage.attempt() == attempt
    storage.save_tokens(account_pb2.Tokens(access_token="newer"))
    second = storage.attempt()
    storage.save_device(device(access_token="signed in again"))
    assert len({attempt, second, storage.attempt()}) == 3
    storage.close()


def test_a_file_of_the_version_before_goes_on(path: Path) -> None:
    storage = Storage(path)
    storage.save_device(device())
    storage.save_progress(ProgressUpdate(5, {"a": 3}, anew=False))
    storage.close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE device DROP COLUMN attempt")
        database.execute("PRAGMA user_version = 1")
    database.close()
    assert reopened(path) == (device(), Progress(5, {"a": 3}))
    storage = Storage(path)
    assert storage.attempt() == storage.attempt()
    storage.close()


def _text(path: Path) -> None:
    path.write_text("Dear diary, this is long enough to be taken for the header of a database file. " * 20)


def _somebody_elses(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


def _newer(path: Path) -> None:
    Storage(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()


@pytest.mark.parametrize("write", [_text, _somebody_elses, _newer])
def test_a_file_that_is_not_its_own_is_refused(path: Path, write: object) -> None:
    assert callable(write)
    write(path)
    with pytest.raises(TidingsError, match="cannot be used") as refused:
        Storage(path)
    assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_UNREADABLE")
    if write is _text:
        assert path.read_text().startswith("Dear diary")


def test_what_cannot_be_opened_is_the_systems_to_explain(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Storage(tmp_path)
    with pytest.raises(FileNotFoundError):
        Storage(tmp_path / "nowhere" / "file")
