"""optimize on torch.export's programs and torch.fx's graph modules: aten's ops reach the converters of torch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Branches, Outputs, Views, error, settle, truth
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

import pycnn

ANY = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
SHAPES = [(2, 3, 20, 20), (3, 3, 33, 21), (4, 3, 12, 16)]


def program(net: nn.Module, **options: Any) -> ExportedProgram:
    return export(net, (torch.randn(SHAPES[0]),), **options)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("make", [Branches, Views])
def test_every_op_has_a_kernel_at_any_size(make: type[nn.Module], decomposed: bool) -> None:
    net = settle(make())
    exported = program(net, dynamic_shapes=ANY)
    fast = pycnn.optimize(exported.run_decompositions() if decomposed else exported)
    with torch.inference_mode():
        for shape in SHAPES:
            x = torch.randn(shape)
            y, expected = fast(x), net(x)
            assert error(y, truth(net, x)) <= 1e-5 and y.stride() == expected.stride()
        assert not pycnn.explain(fast, x).fallbacks
    assert len(fast._compiled.graphs) == 1


class Resized(nn.Module):
    """What aten spells otherwise: resizing, padding, slices, norms, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 2, 2, output_padding=1)
        self.norm, self.groups = nn.LayerNorm(5), nn.GroupNorm(2, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.pad(self.conv(x), (1, 0, 2, 1))[:, 2:6]
        y = nn.functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        y = nn.functional.interpolate(y, size=(9, 11), mode="nearest")
        y = nn.functional.dropout(self.groups(self.up(y)), 0.5, self.training)
        return self.norm(self.head(y.mean((2, 3))))


@pytest.mark.parametrize("decomposed", [False, True])
def test_aten_spellings(decomposed: bool) -> None:
    net, x = settle(Resized()), torch.randn(SHAPES[0])
    exported = program(net)
    fast = pycnn.optimize(exported.run_decompositions() if decomposed else exported)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 1e-5
    assert fast._compiled.match is not None, fast._compiled.reason


def test_other_sizes_than_exported_are_refused_as_by_the_program() -> None:
    exported, x = program(settle(Branches())), torch.randn(3, 3, 20, 20)
    fast = pycnn.optimize(exported)
    with torch.inference_mode():
        fast(torch.randn(SHAPES[0]))
        with pytest.raises(AssertionError) as expected:
            exported.module()(x)
        with pytest.raises(AssertionError) as found:
            fast(x)
    assert str(found.value) == str(expected.value)


def test_weights_are_the_program_s() -> None:
    net = settle(Branches())
    exported, x = program(net), torch.randn(SHAPES[0])
    fast = pycnn.optimize(exported)
    with torch.inference_mode():
        before = fast(x)
        exported.state_dict["head.weight"].mul_(2)
        assert error(fast(x), truth(net, x)) <= 1e-5 and not torch.equal(fast(x), before)
    assert fast.state_dict().keys() >= dict(net.named_parameters()).keys()


def test_saved_and_loaded(tmp_path: Path) -> None:
    net, x = settle(Branches()), torch.randn(SHAPES[0])
    torch.export.save(program(net), tmp_path / "net.pt2")
    fast = pycnn.optimize(torch.export.load(tmp_path / "net.pt2"), strict=True)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 1e-5


def test_eval_stays_and_train_is_refused() -> None:
    fast = pycnn.optimize(program(settle(Branches())))
    assert fast.eval() is fast and not fast.training
    with pytest.raises(NotImplementedError, match=r"train\(\)"):
        fast.train()


def test_steps_are_named_after_the_exported_modules() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LPPool2d(2, 2)))
    with torch.inference_mode(), pytest.raises(NotImplementedError, match=r"in 1[:;]"):
        pycnn.optimize(program(net), strict=True)(torch.randn(SHAPES[0]))


@pytest.mark.parametrize("make", [Branches, Outputs])
def test_symbolically_traced(make: type[nn.Module]) -> None:
    net, x = settle(make()), torch.randn(SHAPES[1])
    traced = torch.fx.symbolic_trace(net, concrete_args={"scale": 1.0, "extra": None})
    if make is Branches:
        traced = torch.fx.symbolic_trace(net)
    fast = pycnn.optimize(traced.eval())
    with torch.inference_mode():
        y, expected = (f(x) for f in (fast, net))
        if make is Outputs:
            y, expected = y["map"], expected["map"]
        torch.testing.assert_close(y, expected)
        assert fast._compiled.match is not None
