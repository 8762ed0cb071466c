from __future__ import annotations


class FakeClock:
    """A clock that only moves when told to."""

    def __init__(self, now_ms: int = 1_750_000_000_000) -> None:
        self._now_ms = now_ms
        self._elapsed_ms = 0
        self._wrong_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def wall_ms(self) -> int:
        return self._now_ms + self._wrong_ms

    def monotonic(self) -> float:
        return self._elapsed_ms / 1000

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)
        self._elapsed_ms += round(seconds * 1000)

    def set_by(self, seconds: float) -> None:
        """Somebody sets it: no time passes."""
        self._now_ms += round(seconds * 1000)

    def show_wrongly(self, seconds: float) -> None:
        """Lets the machine's clock be wrong by so much from now on; negative is behind."""
        self._wrong_ms = round(seconds * 1000)
