"""The name of the processor."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

_KEYS = ("model name", "cpu family", "model")


@functools.cache
def cpu_name() -> str:
    """The processor as /proc/cpuinfo names it, with family and model, which virtual machines' names leave out."""
    text = Path("/proc/cpuinfo").read_text()
    found = {key: re.search(rf"^{key}\s*:\s*(.+)$", text, re.M) for key in _KEYS}
    name, family, model = (match.group(1).strip() if match else None for match in found.values())
    where = "" if family is None else f" (family {family}, model {model})"
    return f"{name or platform.processor() or platform.machine()}{where}"
