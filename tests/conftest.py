"""Shared by all tests: the same random numbers for each, whatever ran before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

# No table of measured kernels but a test's own.
_folder = tempfile.TemporaryDirectory()
os.environ["PYCNN_TUNED"] = str(Path(_folder.name) / "tuned.json")

if (
    "PYTEST_XDIST_WORKER_COUNT" in os.environ
):  # workers that spin for each other's cores take 8 times as long
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kernels that layers' weights have been packed for."""
    from pycnn.planning.cpu import CpuTarget  # behind PYCNN_TUNED

    found: list[str] = []
    pack = CpuTarget.pack

    def noted(target: Any, op: str, kernel: str, *rest: Any) -> Tensor:
        if "scale" not in kernel and "norm" not in op:  # norms by themselves are not in files
            found.append(kernel)
        return pack(target, op, kernel, *rest)

    monkeypatch.setattr(CpuTarget, "pack", noted)
    return found
