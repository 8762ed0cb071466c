"""Everything in this process that holds streams of devices, as one."""

from __future__ import annotations

from collections.abc import Mapping

from tidings.core.ports import DeviceStreams


class AllStreams(DeviceStreams):
    """Pass on to several services what concerns the streams of each.

    Args:
        *services: Are told, one after the other.
    """

    def __init__(self, *services: DeviceStreams) -> None:
        self._services = services

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        """See `DeviceStreams.end_devices`."""
        for each in self._services:
            await each.end_devices(revoked)
