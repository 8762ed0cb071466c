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

# All clients of a test come from one address.
[rates.calls_by_address]
per_second = 10_000
burst = 100_000
"""
UNLIMITED = f"""
{CHEAP_SIGN_UPS}
[rates.commands]
per_second = 1_000_000
burst = 1_000_000

[rates.calls]
per_second = 1_000_000
burst = 1_000_000

[rates.direct_channels]
per_second = 1_000_000
burst = 1_000_000

[rates.added_members]
per_second = 1_000_000
burst = 1_000_000
"""
MESH: dict[str, Any] = {
    "passwords": {"memory_kib": 64, "iterations": 1},
    "rates": {
        "commands": {"per_second": 1_000_000, "burst": 1_000_000},
        "calls": {"per_second": 1_000_000, "burst": 1_000_000},
        "direct_channels": {"per_second": 1_000_000, "burst": 1_000_000},
        "added_members": {"per_second": 1_000_000, "burst": 1_000_000},
        "calls_by_address": {"per_second": 10_000, "burst": 100_000},
        "sign_ups": {"per_second": 1_000, "burst": 10_000},
    },
}
"""As UNLIMITED, for the servers of a cluster."""
