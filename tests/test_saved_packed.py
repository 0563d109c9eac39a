"""Packed weights in saved networks: read where they lie in the file, as long as they are those of its weights."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from nets import error, settle, truth
from packed_files import contents, small, written
from torch import Tensor, nn

import bench.__main__ as command
import pycnn
from bench import saved as bench_saved
from pycnn import _C
from pycnn.ir import stored
from pycnn.planning.kept import packed as packed_of
from pycnn.timing import Workload


class Standardised(nn.Module):
    """A weight that is computed of the model's, a transposed convolution, a linear layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3, 3, 3))
        self.up, self.linear = nn.ConvTranspose2d(16, 16, 2, 2), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.weight.reshape(1, 16, -1), None, None, training=True)
        y = self.up(F.conv2d(x, weight.reshape_as(self.weight)).relu()).mean((2, 3))
        return self.linear(self.linear(y).relu())


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda: pycnn.create_model("resnet18", num_classes=9), (1, 3, 64, 48)),
    "densenet121": (lambda: pycnn.create_model("densenet121", num_classes=9), (1, 3, 64, 64)),
    "mobilenet_v3_small": (lambda: pycnn.create_model("mobilenet_v3_small"), (1, 3, 64, 64)),
    "unet": (lambda: pycnn.create_model("unet", width=8), (1, 1, 48, 32)),
    "lenet_like": (lambda: pycnn.create_model("lenet_like"), (1, 1, 28, 28)),
    "standardised": (Standardised, (2, 3, 12, 12)),
}


def read_weights(fast: Any) -> list[Tensor]:
    """The packed weights that the plans read."""
    return [
        w
        for plan in fast.__dict__["_compiled"].match.program.planner._kept
        for w in packed_of(plan)
    ]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ZOO)
def test_nothing_is_packed_again_and_the_bits_are_the_same(
    name: str, dtype: torch.dtype | None, tmp_path: Path, packs: list[str]
) -> None:
    make, shape = ZOO[name]
    larger = (shape[0] + 4, *shape[1:])
    fast = written(settle(make()), path := tmp_path / "net.pycnn", shape, larger, dtype=dtype)
    assert packs
    packs.clear()
    loaded = pycnn.load(path)
    for x in (torch.randn(shape), torch.randn(larger)):
        with torch.inference_mode():
            assert torch.equal(loaded(x), fast(x))
    assert not packs
    assert list(loaded.state_dict()) == list(fast.state_dict())


def test_they_are_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "net.pycnn"
    written(small(), path, (1, 3, 16, 16))
    loaded = pycnn.load(path)
    loaded.warmup((1, 3, 16, 16))
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    addresses = [weight.data_ptr() for weight in read_weights(loaded)]
    assert len(addresses) == 3
    for address in addresses:
        assert address % 64 == 0 and any(first <= address < last for first, last in ranges)


def _edited(net: Any) -> None:
    net.get_parameter("2.0.weight").mul_(2)


def _other_storage(net: Any) -> None:
    net.get_parameter("2.0.weight").data = net.get_parameter("2.0.weight") * 2


def _replaced(net: Any) -> None:
    net.get_submodule("2.0").weight = nn.Parameter(net.get_parameter("2.0.weight") * 2)


def _statistics(net: Any) -> None:
    net.get_buffer("2.1.running_var").mul_(3)


def _state(net: Any) -> None:
    state = {key: t.clone() for key, t in net.state_dict().items()}
    state["2.0.weight"] *= 2
    net.load_state_dict(state)


def _unseen(net: Any) -> None:
    net.get_parameter("2.0.weight").data.mul_(2)
    if hasattr(net, "refresh"):
        net.refresh()


@pytest.mark.parametrize("called", [False, True], ids=["before the first call", "behind it"])
@pytest.mark.parametrize(
    "change", [_edited, _other_storage, _replaced, _statistics, _state, _unseen]
)
def test_a_changed_weight_is_packed_again(
    change: Callable[[Any], None], called: bool, tmp_path: Path, packs: list[str]
) -> None:
    net, path = small(), tmp_path / "net.pycnn"
    written(net, path, (1, 3, 16, 16))
    loaded, x = pycnn.load(path), torch.randn(1, 3, 16, 16)
    if called:
        loaded.warmup((1, 3, 16, 16))
    packs.clear()
    with torch.no_grad():
        change(net), change(loaded)
    with torch.inference_mode():
        assert error(loaded(x), truth(net, x)) < 1e-4
    assert len(packs) == {_unseen: 3, _state: 3}.get(change, 1)


def test_copies_and_weights_that_came_back_pack_for_themselves(
    tmp_path: Path, packs: list[str]
) -> None:
    net, path, x = small(), tmp_path / "net.pycnn", torch.randn(1, 3, 16, 16)
    written(net, path, (1, 3, 16, 16))
    packs.clear()
    loaded = pycnn.load(path)
    other = copy.deepcopy(loaded)
    with torch.inference_mode():
        assert torch.equal(other(x), loaded(x)) and len(packs) == 3
    assert other.stored is None, "no copy of the file's memory"
    with torch.no_grad():
        other.get_parameter("3.weight").zero_()
    with torch.inference_mode():
        assert torch.equal(other(x), net[3].bias[None, :, None, None].expand(1, 32, 16, 16))
        assert error(loaded(x), truth(net, x)) < 1e-4


def test_what_changed_since_the_last_call_is_not_written_packed(
    tmp_path: Path, packs: list[str]
) -> None:
    net, path, x = small(), tmp_path / "net.pycnn", torch.randn(1, 3, 16, 16)
    fast = pycnn.optimize(net)
    fast.warmup((1, 3, 16, 16))
    with torch.no_grad():
        _edited(net)
    pycnn.save(fast, path, packed=True)
    packs.clear()
    with torch.inference_mode():
        assert error(pycnn.load(path)(x), truth(net, x)) < 1e-4
    assert len(packs) == 1


SCRIPT = """
import sys, pycnn, torch
from pycnn.planning.cpu import CpuTarget
packs, pack = [], CpuTarget.pack
CpuTarget.pack = lambda *a: packs.append(a) or pack(*a)
x, y = torch.load("xy.pt")
with torch.inference_mode():
    found = pycnn.load("net.pycnn")(x)
torch.testing.assert_close(found, y, rtol=1e-4, atol=1e-4)
print(len(packs), torch.equal(found, y))
"""


def test_another_instruction_set_packs_for_itself(tmp_path: Path) -> None:
    shape = (1, 3, 16, 16)
    fast, x = written(small(), tmp_path / "net.pycnn", shape), torch.randn(shape)
    with torch.inference_mode():
        torch.save((x, fast(x)), tmp_path / "xy.pt")
    own = _C.machine()["isa"]
    for isa in _C.machine()["isas"]:
        env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYCNN_ISA": isa}
        told = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=env, check=True, capture_output=True
        )
        packed, equal = told.stdout.split()
        assert (packed == b"0") == (isa == own)
        assert equal == b"True" or isa != own


@pytest.mark.parametrize("what", ["_build", "__version__", "_INPUT"])
def test_another_build_packs_for_itself(
    what: str, tmp_path: Path, packs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, path = written(small(), tmp_path / "net.pycnn", (1, 3, 16, 16)), tmp_path / "net.pycnn"
    packs.clear()
    monkeypatch.setattr(stored, what, (lambda: "other") if what == "_build" else "other")
    loaded, x = pycnn.load(path), torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(loaded(x), fast(x)) and len(packs) == 3


def test_a_file_that_something_else_wrote_again_is_that_of_its_weights(
    tmp_path: Path, packs: list[str]
) -> None:
    net, path, x = small(), tmp_path / "net.pycnn", torch.randn(1, 3, 16, 16)
    written(net, path, (1, 3, 16, 16))
    _, header, tensors = contents(path)
    tensors["2.0.weight"] = tensors["2.0.weight"] * 2
    safetensors.torch.save_file(tensors, path, header)
    packs.clear()
    with torch.no_grad():
        _edited(net)
    with torch.inference_mode():
        assert error(pycnn.load(path)(x), truth(net, x)) < 1e-4
    assert len(packs) == 3


def test_the_cost_of_loaded_networks_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    plain, packed = bench_saved.measure(Workload("small_cnn", 1))
    assert not plain.packed and packed.packed and plain.title == packed.title
    assert packed.file_bytes > plain.file_bytes > 0 and min(plain.load_s, packed.steady_s) > 0
    assert command.main(["saved", "small_cnn"]) == 0
    assert "small_cnn, batch 1, packed" in capsys.readouterr().out
    assert command.main(["saved", "small_cnn:no"]) == 1


def test_packed_is_a_bool(tmp_path: Path) -> None:
    fast = pycnn.optimize(small())
    fast.warmup((1, 3, 16, 16))
    with pytest.raises(TypeError, match="save: packed must be a bool, got 1"):
        pycnn.save(fast, tmp_path / "net.pycnn", packed=1)
    assert not [*tmp_path.iterdir()]
