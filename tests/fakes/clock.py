"""A clock that stands still until it is moved."""

START_MS = 1_780_315_200_000  # 2026-06-01 12:00 UTC


class MovableClock:
    """The Clock port; tests move it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def move(self, *, seconds: int = 0, milliseconds: int = 0) -> None:
        """Let time pass."""
        passed_ms = seconds * 1000 + milliseconds
        assert passed_ms >= 0
        self._now_ms += passed_ms
        self._monotonic_ms += passed_ms

    def set_back(self, *, seconds: int) -> None:
        """Set the time of day to an earlier one, as operators and time servers do."""
        self._now_ms -= seconds * 1000
