"""What a process of its own prints: one that has not run anything yet."""

from __future__ import annotations

import subprocess
import sys


def last_line(code: str, what: str) -> str:
    """The last line that Python code prints.

    Raises:
        RuntimeError: it failed; `what`, with its last line.
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    last = lines[-1] if lines else ""
    if done.returncode:
        raise RuntimeError(f"{what}: {last or done.returncode}")
    return last
