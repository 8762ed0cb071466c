"""`make fuzz`, and the process that attacks: whoever is measured beside it shares nothing with it but the server."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path

from tests.fuzz.attacks import Attacker
from tests.fuzz.run import fuzz
from tests.support.processes import ServerProcess
from tests.support.raw import Api
from tests.support.requests import INTERNAL, PUBLIC
from tests.support.settings import UNLIMITED


async def _attack(options: argparse.Namespace) -> None:
    if options.internal:
        answers = await Attacker(options.endpoint, INTERNAL, options.seed).attack(options.inputs)
    else:
        api = Api(options.sign_up or options.endpoint)
        answers = await Attacker(options.endpoint, PUBLIC, options.seed).attack(options.inputs, api)
        await api.close()
    print(json.dumps({"inputs": answers.inputs, "codes": answers.codes, "forbidden": answers.forbidden}))


async def _run(options: argparse.Namespace) -> None:
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = await fuzz(ServerProcess(Path(folder) / "data", config=UNLIMITED), options.inputs, options.seed)
    print(report)
    for each in report.answers["forbidden"]:
        print(each)
    if "Traceback" in report.logged:
        print(report.logged)
    if report.code or report.answers["forbidden"] or "Traceback" in report.logged:
        raise SystemExit(1)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(required=True)
    attack = commands.add_parser("attack", help="attack a listener, and print what was answered as JSON")
    attack.add_argument("endpoint", help="HOST:PORT of the listener")
    attack.add_argument("--sign-up", default="", help="HOST:PORT where people sign up, if not there")
    attack.add_argument("--internal", action="store_true", help="it is a listener for other servers")
    attack.set_defaults(run=_attack)
    run = commands.add_parser("run", help="attack a server of its own, and say how it went")
    run.set_defaults(run=_run)
    for each in (attack, run):
        each.add_argument("--inputs", type=int, default=200_000, help="how many inputs (default: %(default)s)")
        each.add_argument("--seed", type=int, default=random.randrange(1 << 31), help="makes the inputs")
    options = parser.parse_args()
    asyncio.run(options.run(options))


if __name__ == "__main__":
    main()
