"""Capture of in-place calls, and refusals with their reason."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, captured, images, net
from torch import Tensor, nn

from pycnn.frontend import CaptureError, capture

INPLACE = {
    "later use": lambda self, x: (y := self.conv(x), F.relu(y, inplace=True), y + 1)[-1],
    "iadd": lambda self, x: (y := self.conv(x), z := F.relu(y), z.__iadd__(y), z * y)[-1],
    "add_ alpha": lambda self, x: self.conv(x).add_(x, alpha=2),
    "add_ broadcast": lambda self, x: self.conv(x).add_(x[:, :1]),
    "mul_ twice": lambda self, x: self.conv(x).mul_(2).mul_(x),
    "setitem": lambda self, x: (y := self.conv(x), y.__setitem__((slice(None), 0), 3.0), y)[-1],
    "out": lambda self, x: (y := torch.zeros(2, 3, 6, 6), torch.add(x, x, out=y), y)[-1],
    "old value used": lambda self, x: (y := self.conv(x), z := y * 2, y.relu_(), z + y)[-1],
    "view, base dead": lambda self, x: F.relu(self.conv(x).flatten(1), inplace=True),
    "same object": lambda self, x: (y := self.conv(x), r := y, y.sigmoid_(), r * 2)[-1],
}


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_calls_are_made_functional(name: str) -> None:
    captured(Fn(INPLACE[name], conv=nn.Conv2d(3, 3, 1)), images(2, 3, 6, 6))


REFUSED = [
    ("relu_ writes into the memory of the model's input", lambda self, x: x.relu_()),
    ("add_ writes into the memory of the model's input", lambda self, x: x.view(-1).add_(1)),
    ("relu_ wrote into memory it shares", lambda self, x: (y := self.conv(x), y[:, :1].relu_(), y)[-1]),
    ("add_ wrote into memory it shares",
     lambda self, x: (y := self.conv(x), v := y.flatten(1), y.add_(y), v)[-1]),
    ("mul_ writes into the memory of a tensor of the model",
     lambda self, x: (self.conv.weight.view(-1).mul_(2), self.conv(x))[-1]),
    ("conv2d reads a tensor that the model writes",
     lambda self, x: (self.conv.bias.add_(1), self.conv(x))[-1]),
    ("item", lambda self, x: self.conv(x) if x.sum().item() > 0 else x),
    ("data_ptr looks at memory", lambda self, x: x if x.data_ptr() else x),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "function"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals_carry_their_reason(reason: str, function: Callable[..., Tensor]) -> None:
    model = Fn(function, conv=nn.Conv2d(3, 3, 1))
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(CaptureError, match=reason):
        capture(model, (images(2, 3, 6, 6),))
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_a_branch_on_values_is_refused_even_if_the_model_catches_it() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        try:
            return x * 2 if x.sum() > 0 else x
        except RuntimeError:
            return x

    with pytest.raises(CaptureError, match="meta"):
        capture(Fn(forward), (images(1, 3, 4, 4),))


class Keeps(nn.Module):
    """Keeps state in every way a module can."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls, self.seen = how, 0, []
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.how == "last":
            self.last = x
        elif self.how == "seen":
            self.seen.append(x)
        elif self.how == "total":
            self.total = self.total + x.sum()
        return x * 2


@pytest.mark.parametrize("how", ["last", "seen", "total", "nothing"])
def test_a_model_that_keeps_tensors_is_refused_and_restored(how: str) -> None:
    inner = Keeps(how)
    total = inner.total
    model = nn.Sequential(nn.ReLU(), inner)
    if how == "nothing":
        capture(model, (images(1, 3, 4, 4),))
    else:
        with pytest.raises(CaptureError, match=rf"keeps a tensor in 1\.{how}"):
            capture(model, (images(1, 3, 4, 4),))
    assert not hasattr(inner, "last")
    assert inner.seen == []
    assert inner.total is total
    assert inner.calls == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused() -> None:
    scripted = torch.jit.trace(nn.Conv2d(3, 3, 1), images(1, 3, 4, 4))
    with pytest.raises(CaptureError, match="0 is TorchScript"):
        capture(nn.Sequential(scripted, nn.ReLU()), (images(1, 3, 4, 4),))


def test_hooks_and_hidden_tensors_are_refused() -> None:
    x = images(1, 3, 4, 4)
    model = net()
    model[2].register_forward_hook(lambda module, args, result: None)
    with pytest.raises(CaptureError, match="2 has a forward hook"):
        capture(model, (images(1, 3, 8, 8),))

    class Box:
        def __init__(self, x: Tensor) -> None:
            self.x = x

    with pytest.raises(CaptureError, match="an argument is a Box"):
        capture(Fn(lambda self, x, box: x + box.x), (x, Box(x)))
    with pytest.raises(CaptureError, match="returns a Box"):
        capture(Fn(lambda self, x: Box(x)), (x,))


def test_hooks_are_gone_after_a_refusal() -> None:
    with pytest.raises(CaptureError):
        capture(Fn(lambda self, x: x.sum().item()), (images(1, 3, 4, 4),))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
