"""Generates the gRPC stubs from protos/ whenever the package is built or installed; all else is in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithStubs(build_py):
    """Writes tidings/v1 and tidings/internal/v1, then builds as usual."""

    def run(self) -> None:
        """Runs when setuptools builds."""
        subprocess.run([sys.executable, str(ROOT / "protos" / "generate.py")], check=True)
        # The packages were listed before the stubs existed.
        generated = ["tidings.v1", "tidings.internal", "tidings.internal.v1"]
        self.packages = sorted({*(self.packages or []), *generated})
        super().run()


setup(cmdclass={"build_py": BuildWithStubs})
