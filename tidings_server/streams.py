"""All that holds streams of devices in this process, as one."""

from __future__ import annotations

from collections.abc import Collection

from tidings.core.ports import DeviceStreams


class AllStreams(DeviceStreams):
    """Passes on to several services what concerns the streams of each."""

    def __init__(self, *services: DeviceStreams) -> None:
        """Tells every one of `services`."""
        self._services = services

    async def end_devices(self, device_ids: Collection[str]) -> None:
        """See `DeviceStreams.end_devices`."""
        for each in self._services:
            await each.end_devices(device_ids)
