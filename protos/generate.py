"""Writes what is made from the .proto files: the Python stubs, or with an option something else."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
STUBS = {"tidings/v1": PROTOS / "stubs", "tidings/internal/v1": ROOT}
"""Where the Python stubs of each package stand: with the contract what all share, in the server what it alone needs."""


def includes() -> list[str]:
    """The import paths: our own folder, and google/protobuf, which every protoc brings."""
    return [f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}"]


def sources(*packages: str) -> list[str]:
    """Every .proto file of these packages."""
    return sorted(str(path) for package in packages for path in (PROTOS / package).glob("*.proto"))


def run_protoc(*arguments: str) -> None:
    """Runs protoc, which says by itself what it does not like."""
    if protoc.main(["protoc", *includes(), *arguments]) != 0:
        raise SystemExit("protoc failed")


def write_stubs(package: str) -> None:
    """Write the Python stubs of a package anew, so that none outlives its .proto file."""
    target = STUBS[package]
    shutil.rmtree(target / package, ignore_errors=True)
    (target / package).mkdir(parents=True)
    # The folders above are namespaces: several distributions put packages into them.
    (target / package / "__init__.py").touch()
    (target / package / "py.typed").touch()
    # Beside this interpreter in a virtual environment, on PATH in an isolated build.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    run_protoc(
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        f"--plugin=protoc-gen-mypy_grpc={shutil.which('protoc-gen-mypy_grpc', path=path)}",
        f"--mypy_grpc_out={target}",
        *sources(package),
    )


def write_image(path: Path) -> None:
    """Writes the whole contract as one descriptor set: buf has no network to fetch google/rpc with."""
    run_protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={path}", *sources(*STUBS))


def write_docs(path: Path) -> None:
    """Writes the page about what clients call."""
    run_protoc(
        f"--plugin=protoc-gen-doc={ROOT / '.build/bin/protoc-gen-doc'}",
        f"--doc_out={path.parent}",
        f"--doc_opt={ROOT / 'tools/api.md.tmpl'},{path.name}",
        *sources("tidings/v1"),
    )


def write_go(folder: Path) -> None:
    """Writes the Go stubs of the public contract into a Go module, below its `gen`."""
    gen = folder / "gen"
    shutil.rmtree(gen, ignore_errors=True)
    gen.mkdir()
    plugins = [f"--plugin={name}={ROOT / '.build/bin' / name}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")]
    run_protoc(*plugins, f"--go_out={gen}", f"--go-grpc_out={gen}", *sources("tidings/v1"))


def main() -> None:
    """Writes the one thing that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("packages", nargs="*", default=[*STUBS], metavar="PACKAGE", help="write only these stubs")
    choice.add_argument("--image", type=Path, metavar="FILE", help="write the descriptor set that `buf lint` reads")
    choice.add_argument("--docs", type=Path, metavar="FILE", help="write the API's page, as Markdown")
    choice.add_argument("--go", type=Path, metavar="FOLDER", help="write Go stubs into the Go module there")
    options = parser.parse_args()
    if options.image:
        write_image(options.image)
    elif options.docs:
        write_docs(options.docs)
    elif options.go:
        write_go(options.go)
    else:
        for package in options.packages:
            write_stubs(package)


if __name__ == "__main__":
    main()
