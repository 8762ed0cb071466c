"""Settings for servers under test."""

from __future__ import annotations

from typing import Any

# Hashing passwords at full cost is what sign-up is about, and not what most tests are about.
CHEAP_SIGN_UPS = """
[passwords]
memory_kib = 64
iterations = 1

[rates.sign_ups]
per_second = 1000
burst = 10000
"""
UNLIMITED = f"""
{CHEAP_SIGN_UPS}
[rates.commands]
per_second = 1_000_000
burst = 1_000_000
"""
MESH: dict[str, Any] = {
    "passwords": {"memory_kib": 64, "iterations": 1},
    "rates": {
        "commands": {"per_second": 1_000_000, "burst": 1_000_000},
        "sign_ups": {"per_second": 1_000, "burst": 10_000},
    },
}
"""As UNLIMITED, for the servers of a cluster."""
