"""A plain protoc makes stubs for any language from protos/ alone, with the names that the language expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import status_pb2

_PROTOS = Path(__file__).parents[2] / "protos"
_PUBLIC = sorted(str(path.relative_to(_PROTOS)) for path in (_PROTOS / "tidings" / "v1").glob("*.proto"))


def protoc(*arguments: str) -> None:
    """Runs protoc as anybody would who has this folder and nothing else."""
    subprocess.run([Path(sys.executable).with_name("protoc"), f"-I{_PROTOS}", *arguments, *_PUBLIC], check=True)


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """Each public .proto file, and what it imports."""
    image = tmp_path_factory.mktemp("contract") / "image.binpb"
    protoc("--include_imports", f"--descriptor_set_out={image}")
    return {file.name: file for file in FileDescriptorSet.FromString(image.read_bytes()).file}


def test_it_needs_no_folder_but_its_own(contract: dict[str, FileDescriptorProto]) -> None:
    assert {name for name in contract if not name.startswith("google/protobuf/")} == {
        *_PUBLIC,
        "google/rpc/status.proto",
    }


def test_the_copy_of_googles_status_is_up_to_date() -> None:
    original = Path(status_pb2.__file__).with_name("status.proto")
    assert (_PROTOS / "google" / "rpc" / "status.proto").read_text() == original.read_text()


@pytest.mark.parametrize("name", _PUBLIC)
def test_every_file_says_how_it_is_named_elsewhere(name: str, contract: dict[str, FileDescriptorProto]) -> None:
    options = contract[name].options
    assert options.go_package == "tidings/v1;tidingsv1"
    assert options.java_package == "tidings.v1"
    assert options.java_multiple_files
    assert options.csharp_namespace == "Tidings.V1"
    assert options.swift_prefix == "Tidings"


def test_java_has_a_file_for_each_type_and_no_class_with_a_name_made_up_by_protoc(tmp_path: Path) -> None:
    protoc(f"--java_out={tmp_path}")
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.java")}
    assert {"tidings/v1/SignUpRequest.java", "tidings/v1/Event.java", "tidings/v1/ChatProto.java"} <= written
    assert [name for name in written if name.endswith("OuterClass.java") or not name.startswith("tidings/v1/")] == []


def test_csharp_has_one_namespace(tmp_path: Path) -> None:
    protoc(f"--csharp_out={tmp_path}")
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(written) == sorted(f"{Path(name).stem.capitalize()}.cs" for name in _PUBLIC)
    assert all("\nnamespace Tidings.V1 {\n" in text for text in written.values())
