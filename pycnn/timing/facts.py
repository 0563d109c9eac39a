"""What Linux knows of the machine and its load: versions, memory of a process, work of others."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "torch",
    "onnxruntime",
    "openvino",
    "onnx",
    "onnxscript",
    "numpy",
    "torchvision",
    "timm",
)


def versions() -> dict[str, str]:
    """Version of Python, pycnn and of each package engines come from, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_bytes() -> int:
    """The most memory this process has had (VmHWM)."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(match.group(1)) * 1024 if match else 0


@dataclass(frozen=True)
class Load:
    """Processor seconds of the whole machine since it started, all processors together."""

    busy_s: float
    steal_s: float

    @classmethod
    def now(cls) -> Load:
        """Read /proc/stat; its resolution is 10 ms."""
        user, nice, system, _idle, _wait, irq, soft, steal = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        tick = os.sysconf("SC_CLK_TCK")
        return cls((user + nice + system + irq + soft) / tick, steal / tick)

    def foreign_s(self, before: Load, own_s: float) -> float:
        """Processor seconds since `before` that were not ours: others' work, and time a hypervisor took."""
        others = self.busy_s - before.busy_s - own_s
        return max(0.0, others) + self.steal_s - before.steal_s
