"""CUDA kernels compiled by g++, a fiber for each CUDA thread: built once, run on guarded tensors."""

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

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
GUARD = 64  # elements before and after each tensor, which a kernel may not touch
Params = dict[str, float]


@functools.cache
def kernels() -> ModuleType:
    """The module `cuda_host` of CMakeLists.txt, brought up to date."""
    build = ROOT / "build" / f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    here = Path(sys.executable).parent
    cmake = here / "cmake" if (here / "cmake").exists() else "cmake"
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    with open(build / "cuda_host.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may be shared out to several processes
        done = subprocess.run(
            [cmake, "--build", build, "--target", "cuda_host", "-j", "2"],
            capture_output=True, text=True, timeout=600, env={**os.environ, "PATH": path},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    file = build / "cuda_host" / f"pycnn_cuda_host{suffix}"
    spec = importlib.util.spec_from_file_location("pycnn_cuda_host", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Guarded:
    """`values`, as a tensor with rows of `ld` elements, in the middle of memory that must stay as it is."""

    def __init__(self, values: Tensor, ld: int | None = None, writable: bool = False) -> None:
        rows, c = values.shape
        self.ld, self.c = ld or c, c
        self.memory = torch.full((2 * GUARD + rows * self.ld,), torch.nan, dtype=values.dtype)
        self.view = self.memory[GUARD : GUARD + rows * self.ld].view(rows, self.ld)[:, :c]
        self.view.copy_(values)
        self.writable = writable

    def allow(self, module: ModuleType) -> None:
        """Let kernels touch the rows."""
        size = self.memory.element_size()
        rows = self.view.shape[0]
        count = (rows - 1) * self.ld + self.c if rows else 0
        module.allow(self.view.data_ptr(), count * size, self.writable)

    def untouched(self) -> bool:
        """Whether all that lies around the rows and between them is NaN still."""
        rest = self.memory.clone()
        rest[GUARD : GUARD + self.view.shape[0] * self.ld].view(-1, self.ld)[:, : self.c] = (
            torch.nan
        )
        return bool(rest.isnan().all())


def run(
    op: str,
    kernel: str,
    params: Params,
    x: Guarded,
    y: Guarded,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Guarded | None = None,
    seed: int = 1,
    drop: str = "",
) -> list[str]:
    """One launch; the barriers it passed. The kernel sees x, y, residual and what belongs to it, no more."""
    module = kernels()
    packed = torch.zeros(module.packed_bytes(op, kernel, params) + 16, dtype=torch.uint8)
    start = -packed.data_ptr() % 16
    if weight is not None:
        module.pack(op, kernel, params, weight.contiguous().data_ptr(), packed.data_ptr() + start)
    module.configure(seed, drop)
    module.forbid_all()
    for tensor in (x, y, residual):
        if tensor is not None:
            tensor.allow(module)
    module.allow(packed.data_ptr() + start, packed.numel() - 16, False)
    if bias is not None:
        module.allow(bias.data_ptr(), bias.numel() * 4, False)
    w = 0 if weight is None else packed.data_ptr() + start
    r, b = (
        0 if residual is None else residual.view.data_ptr(),
        0 if bias is None else bias.data_ptr(),
    )
    module.run(op, kernel, params, x.view.data_ptr(), r, w, b, y.view.data_ptr(), 0)
    return list(module.sites())
