"""Saved networks: a damaged file is one clear error."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from nets import settle
from torch import nn

import pycnn
from pycnn import saved


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
def test_damaged_files_are_one_clear_error_or_a_network(packed: bool, tmp_path: Path) -> None:
    """Truncated anywhere, bytes flipped, values of the description exchanged: ValueError, or a network that runs."""
    path, broken = tmp_path / "net.pycnn", tmp_path / "broken.pycnn"
    body = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)
    net = settle(nn.Sequential(*body, nn.Flatten(), nn.Linear(24, 3)))
    fast = pycnn.optimize(net)
    fast.warmup((1, 3, 8, 8))
    pycnn.save(fast, path, packed=packed)
    whole = path.read_bytes()
    draw = random.Random(5)
    x = torch.randn(2, 3, 8, 8)

    def attempt() -> bool:
        try:
            loaded = pycnn.load(broken)
            with torch.inference_mode():
                loaded(x)
        except (ValueError, RuntimeError, NotImplementedError):
            return False
        return True

    for size in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        broken.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="no network that pycnn.save wrote"):
            pycnn.load(broken)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        broken.write_bytes(bytes(data))
        attempt()
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    refused = 0
    for _ in range(250):
        described = json.loads(header["network"])
        _exchange(described, draw)
        data = safetensors.torch.save(tensors, {**header, "network": json.dumps(described)})
        broken.write_bytes(b"".join(saved._aligned(data)))
        refused += not attempt()
    assert refused > 100


def _exchange(data: Any, draw: random.Random) -> None:
    """Replace one value somewhere inside."""
    places: list[tuple[Any, Any]] = []

    def visit(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)):
                visit(part[key])

    visit(data)
    part, key = draw.choice(places)
    part[key] = draw.choice(
        [None, -1, 0, 3, 2**40, 0.5, "", "relu", [], ["tensor"], {}, ["op", "Conv2d", {}], True]
    )


def test_an_interrupted_save_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pycnn"
    fast = pycnn.optimize(settle(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())))
    fast.warmup((1, 3, 8, 8))
    pycnn.save(fast, path)
    before = path.read_bytes()

    def interrupted(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pycnn.save(fast, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_weights_are_mapped_from_the_file_and_edits_stay_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "net.pycnn"
    fast = pycnn.optimize(settle(nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3))))
    fast.warmup((1, 3, 8, 8))
    pycnn.save(fast, path)
    before = path.read_bytes()
    weight = pycnn.load(path).get_parameter("1.weight")
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    assert any(first <= weight.data_ptr() < last for first, last in ranges)
    with torch.no_grad():
        weight.zero_()
    assert path.read_bytes() == before
