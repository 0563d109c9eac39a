"""The parent's end of an engine's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any


class EngineError(RuntimeError):
    """An engine could not do what it was asked; the message is one sentence."""


class Worker:
    """The process of one engine on one workload; killed on leaving the `with` block."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine = engine
        self.words = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pycnn.timing", engine, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            env={**os.environ, **counts},
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which ends this process
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            EngineError: the engine says it cannot, or its process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            raise EngineError(
                f"the process of {self.engine!r} ended with status {code}{self._last_words()}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise EngineError(f"{self.engine}: {reply['failed']}")
        return reply

    def _last_words(self) -> str:
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self.words.close()
