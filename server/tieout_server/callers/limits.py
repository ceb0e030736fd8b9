"""How many streams a caller may have open at once."""

from collections import Counter


class Streams:
    """How many streams each name has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def open(self, name: str) -> bool:
        """Count one more, unless there are as many as there may be; whether it was counted."""
        if self._open[name] >= self._most:
            return False
        self._open[name] += 1
        return True

    def close(self, name: str) -> None:
        """Count one less."""
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]
