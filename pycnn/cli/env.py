"""`pycnn env`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy
import torch
from rich.console import Console
from rich.table import Table

from pycnn import _C
from pycnn._version import __version__
from pycnn.cli.app import Json, command

_VARIABLES = (
    "PYCNN_ISA", "PYCNN_CUDA", "PYCNN_CMAKE_ARGS", "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "LD_PRELOAD",
    "CUDA_VISIBLE_DEVICES", "TORCH_LOGS", "CXX", "CC",
)  # fmt: skip
_PEERS = ("torchvision", "timm", "onnx", "onnxruntime", "openvino", "scikit-learn", "matplotlib")


def facts() -> dict[str, Any]:
    """What a bug report needs: versions, machine, threads, torch's build, CUDA, environment variables."""
    machine = _C.machine()
    return {
        "pycnn": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "executable": sys.executable,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "packages": {name: found for name in _PEERS if (found := _version(name)) is not None},
        "compiler": _compiler(),
        "platform": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "cpu": _cpu(),
        **machine,
        "cpus": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "quota": _quota(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "torch_build": _torch_build(),
        "cuda": _cuda(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _compiler() -> str | None:
    """The first line of `c++ --version`, of the compiler a build would take; None if there is none."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        return None
    run = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10)
    return (run.stdout.splitlines() or [found])[0]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _quota() -> float | None:
    """CPUs that the control group grants; None: no limit."""
    try:
        granted, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if granted == "max" else int(granted) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        granted, period = (
            (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
        )
        return None if int(granted) <= 0 else int(granted) / int(period)
    except (OSError, ValueError):
        return None


def _torch_build() -> dict[str, Any]:
    backends: Any = torch.backends
    return {
        "debug": bool(torch.version.debug),
        "git": torch.version.git_version,
        "cxx11_abi": bool(torch.compiled_with_cxx11_abi()),
        "cpu_capability": backends.cpu.get_cpu_capability(),
        "mkldnn": backends.mkldnn.is_available(),
        "mkl": backends.mkl.is_available(),
        "openmp": backends.openmp.is_available(),
        "settings": torch.__config__.show().strip().splitlines(),
    }


def _cuda() -> dict[str, Any]:
    """torch's CUDA, and the devices it sees."""
    available = torch.cuda.is_available()
    cudnn: Any = torch.backends.cudnn
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "built_with": torch.version.cuda,
        "available": available,
        "cudnn": cudnn.version() if available else None,
        "devices": devices if available else [],
    }


@command("env")
def env_command(as_json: Json = False) -> None:
    """Show what a bug report needs: versions, instruction sets, cores, caches, threads, torch's build, CUDA.

    Examples: [bold]pycnn env[/], [bold]pycnn env --json > env.json[/]
    """
    found = facts()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("fact", "value")
    for fact, value in found.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                if name != "settings":
                    table.add_row(f"{fact}: {name}", _told(name, inner))
        else:
            table.add_row(fact, _told(fact, value))
    Console().print(table, markup=False)


def _told(name: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**10:,.0f} KiB"
    return str(value)
