"""Generate the internal stubs whenever the package is built or installed; all else is in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithStubs(build_py):
    """Write tidings/internal/v1, then build as usual."""

    def run(self) -> None:
        """Run when setuptools builds."""
        subprocess.run([sys.executable, str(ROOT / "protos/generate.py"), "tidings/internal/v1"], check=True)
        # The packages were listed before the stubs existed.
        self.packages = sorted({*(self.packages or []), "tidings.internal.v1"})
        super().run()


setup(cmdclass={"build_py": BuildWithStubs})
