"""Which twins of a trace share memory, and what a write into it makes of the others."""

from __future__ import annotations

from torch import Tensor

from .calls import CaptureError, storage


class Memory:
    """By storage: the twins in it, and whose memory it is where nobody may write it."""

    def __init__(self) -> None:
        self._twins: dict[int, list[Tensor]] = {}
        self._fixed: dict[int, str] = {}
        self._stale: dict[int, str] = {}  # id(twin) -> why it must not be used

    def add(self, twin: Tensor) -> None:
        """A twin that stands for something now."""
        self._twins.setdefault(storage(twin), []).append(twin)

    def fix(self, twin: Tensor, what: str) -> None:
        """Its memory is `what`, which a traced call must not write."""
        self._fixed[storage(twin)] = what

    def fixed(self, twin: Tensor) -> str | None:
        """What its memory is, if it is fixed."""
        return self._fixed.get(storage(twin))

    def spoil(self, written: Tensor, sentence: str) -> None:
        """What shares memory with a written twin must not be used: as a value it does not see the write."""
        for twin in self._twins[storage(written)]:
            if twin is not written:
                self._stale[id(twin)] = sentence

    def check(self, twin: Tensor) -> None:
        """CaptureError if the twin is stale."""
        if id(twin) in self._stale:
            raise CaptureError(self._stale[id(twin)])
