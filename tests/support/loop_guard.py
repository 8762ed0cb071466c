"""`tidings` under guard: what may wait for a disk or a name look-up on the event loop's thread is said on stderr.

Run as a program, in the place of `tidings`. Python's audit events tell of each file that is opened and each name that
is looked up. What SQLite does is not seen: another process that holds its lock is (`tests/faults`).
"""

from __future__ import annotations

import asyncio
import sys
import traceback

COMPLAINT = "waits on the event loop"
"""What stands in the log for each finding."""

_WAITS = frozenset(
    (
        "open",
        "os.listdir",
        "os.remove",
        "os.rename",
        "os.scandir",
        "shutil.rmtree",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "sqlite3.connect",
        "subprocess.Popen",
    )
)
# A start and a stop serve nobody; and a module is read once.
_EXEMPT = frozenset(("_open_node", "start", "close", "_find_and_load", "spare_collector"))


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _WAITS or asyncio._get_running_loop() is None:
        return
    stack = traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False)
    names = [frame.name for frame in stack]
    if _EXEMPT.isdisjoint(names):
        print(f"{event}{arguments!r} {COMPLAINT}: {' < '.join(names[1:12])}", file=sys.stderr, flush=True)


def guard() -> None:
    """Watches this process from now on, to its end."""
    sys.addaudithook(_hook)


if __name__ == "__main__":
    from tidings_server.cli import main

    guard()
    main()
