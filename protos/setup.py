"""Generate tidings.v1 whenever the package is built or installed; all else is in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildStubs(build_py):
    """Write stubs/tidings/v1, then build as usual."""

    def run(self) -> None:
        """Run when setuptools builds."""
        subprocess.run([sys.executable, str(Path(__file__).with_name("generate.py")), "tidings/v1"], check=True)
        super().run()

    def get_source_files(self) -> list[str]:
        """Name what of the package belongs into a source distribution: nothing, since that holds the .proto files."""
        return []


setup(cmdclass={"build_py": BuildStubs})
