"""The CUDA kernels built by g++ for a machine without a GPU: for tests, and for what plans can tell without running."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from bench.report import ROOT


@functools.cache
def built(target: str) -> ModuleType:
    """The module `pycnn_<target>` of CMakeLists.txt, brought up to date. RuntimeError: it does not build, or pycnn
    was not built in this checkout."""
    build = ROOT / "build" / f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    if not build.is_dir():
        raise RuntimeError(
            f"there is no {build}: build pycnn in its checkout first, with pip install -e ."
        )
    here = Path(sys.executable).parent
    cmake = here / "cmake" if (here / "cmake").exists() else "cmake"
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    with open(build / "cuda_host.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may be shared out to several processes
        done = subprocess.run(
            [cmake, "--build", build, "--target", target, "-j", "2"],
            capture_output=True, text=True, timeout=600, env={**os.environ, "PATH": path},
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{target} does not build:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return load(f"pycnn_{target}", build / "cuda_host" / f"pycnn_{target}{suffix}")


def load(name: str, file: Path) -> ModuleType:
    """The extension module in a file."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
