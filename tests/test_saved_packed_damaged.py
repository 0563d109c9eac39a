"""Packed weights in damaged files: one clear error, packed again, or wrong numbers, never memory that is not theirs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from packed_files import contents, rewrite, small, written
from torch import Tensor

import pycnn
from pycnn import saved


@pytest.mark.parametrize(
    "place",
    [None, [], [0], [0, 4, 4], "ab", {"0": 4}, [0.0, 4], [True, 4], [None, 4], [-64, 64], [32, 64], [0, 3],
     [0, -4], [1 << 40, 64], [64, 1 << 62], [0, 1 << 70], [1 << 70, 0]],
)  # fmt: skip
def test_places_that_are_not_within_are_refused(place: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.pycnn"
    written(small(), path, (1, 3, 16, 16))
    described, header, tensors = contents(path)
    described["packed"][next(iter(described["packed"]))] = place
    rewrite(path, described, header, tensors)
    with pytest.raises(
        ValueError, match="no network that pycnn.save wrote: .*packed weights at"
    ) as told:
        pycnn.load(path)
    assert "\n" not in str(told.value)


def test_other_sizes_are_packed_again(tmp_path: Path, packs: list[str]) -> None:
    """However much of the file is given for a weight, a kernel reads as much as it says."""
    fast, path = written(small(), tmp_path / "net.pycnn", (1, 3, 16, 16)), tmp_path / "net.pycnn"
    described, header, tensors = contents(path)
    x = torch.randn(1, 3, 16, 16)
    for size in (0, 4, 64, described["packed"][next(iter(described["packed"]))][1] - 4):
        given = {digest: [0, size] for digest in described["packed"]}
        rewrite(path, {**described, "packed": given}, header, tensors)
        packs.clear()
        with torch.inference_mode():
            assert torch.equal(pycnn.load(path)(x), fast(x)) and len(packs) == 3


@pytest.mark.parametrize(
    "memory", [torch.zeros(8), torch.zeros(4, 2, dtype=torch.int64), None], ids=str
)
def test_memory_of_another_kind_is_refused(memory: Tensor | None, tmp_path: Path) -> None:
    path = tmp_path / "net.pycnn"
    written(small(), path, (1, 3, 16, 16))
    described, header, tensors = contents(path)
    if memory is None:
        del described["packed"]
    else:
        tensors[saved._PACKED] = memory
    rewrite(path, described, header, tensors)
    with pytest.raises(ValueError, match="no network that pycnn.save wrote"):
        pycnn.load(path)


def test_exchanged_weights_are_wrong_numbers_and_nothing_else(tmp_path: Path) -> None:
    fast, path = written(small(), tmp_path / "net.pycnn", (1, 3, 16, 16)), tmp_path / "net.pycnn"
    described, header, tensors = contents(path)
    draw, x = random.Random(1), torch.randn(1, 3, 16, 16)
    for _ in range(20):
        tensors[saved._PACKED].random_(-(2**63), None, generator=torch.Generator().manual_seed(1))
        places = [*described["packed"].values()]
        draw.shuffle(places)
        given = dict(zip(described["packed"], places, strict=True))
        rewrite(path, {**described, "packed": given}, header, tensors)
        with torch.inference_mode():
            assert pycnn.load(path)(x).shape == fast(x).shape
