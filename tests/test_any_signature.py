"""`optimize`: several, keyword, nested, optional and non-tensor inputs; whatever structure comes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from nets import Outputs, conv_bn, settle
from torch import Tensor, nn

import pycnn


def test_keyword_optional_and_constant_arguments() -> None:
    net = settle(Outputs())
    opt, x, extra = pycnn.optimize(net), torch.randn(2, 3, 9, 9), torch.randn(2, 16, 9, 9)
    with torch.inference_mode():
        for args, kwargs in (
            ((x,), {}),
            ((x, 2.0), {}),
            ((x,), {"extra": extra}),
            ((x,), {"scale": 0.5, "extra": extra}),
        ):
            torch.testing.assert_close(opt(*args, **kwargs)["map"], net(*args, **kwargs)["map"])


@dataclass
class Request:
    image: Tensor
    gain: float = 1.0


@dataclass
class Answer:
    map: Tensor
    parts: tuple[Tensor, dict[str, Tensor]]
    label: str = "x"


class Anything(nn.Module):
    """Nested, optional, keyword and non-tensor arguments; a dataclass out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(3, 8), conv_bn(4, 8)
        self.embed = nn.Embedding(10, 8)

    def forward(
        self,
        inputs: dict[str, Any],
        *more: Tensor,
        step: Tensor | None = None,
        size: int | tuple[int, int] | None = None,
        mode: str = "sum",
        flag: bool = False,
    ) -> Answer:
        y = self.a(inputs["pair"][0])
        for x in (inputs["pair"][1], *more):
            y = y + self.b(x) if mode == "sum" else y - self.b(x)
        if step is not None:
            y = y + self.embed(step)[:, :, None, None]
        if size is not None:
            y = nn.functional.interpolate(y, size=size, mode="bilinear")
        pooled = y.mean((2, 3))
        return Answer(y, (pooled, OrderedDict(twice=2 * pooled)), f"{mode}{flag}")


def inputs(n: int = 2, size: int = 9) -> dict[str, Any]:
    pair = torch.randn(n, 3, size, size), torch.randn(n, 4, size, size)
    return {"pair": pair, "name": "not a tensor", "count": 3}


CALLS: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "nested": lambda: ((inputs(),), {}),
    "another size": lambda: ((inputs(1, 12),), {}),
    "more": lambda: ((inputs(), torch.randn(2, 4, 9, 9)), {}),
    "a flag and a mode": lambda: ((inputs(),), {"mode": "difference", "flag": True}),
    "an optional tensor": lambda: ((inputs(),), {"step": torch.tensor([1, 7])}),
    "an int": lambda: ((inputs(),), {"size": 12}),
    "another int": lambda: ((inputs(),), {"size": 17}),
    "a tuple": lambda: ((inputs(),), {"size": (5, 8)}),
    "by keyword": lambda: ((), {"inputs": inputs(), "step": torch.tensor([0, 2])}),
}


def test_one_module_takes_every_form_of_call_in_turn() -> None:
    net = settle(Anything())
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        for name in (*CALLS, *reversed(CALLS)):
            args, kwargs = CALLS[name]()
            mine, own = fast(*args, **kwargs), net(*args, **kwargs)
            assert type(mine) is Answer and type(mine.parts[1]) is OrderedDict, name
            assert mine.label == own.label
            torch.testing.assert_close(mine.map, own.map, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(mine.parts, own.parts, rtol=1e-4, atol=1e-5)
    found = pycnn.explain(fast, *args, **kwargs)
    assert not any("as it is" in each for each in found.fallbacks), found.fallbacks


def test_an_argument_of_a_class_of_its_own_is_the_models() -> None:
    """It may hold tensors and change between calls: the model runs as it is, and explain says so."""

    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*conv_bn(3, 8), nn.ReLU())

        def forward(self, request: Request) -> Tensor:
            return self.body(request.image) * request.gain

    net = settle(Asks())
    fast, request = pycnn.optimize(net), Request(torch.randn(1, 3, 8, 8))
    with torch.inference_mode():
        for gain in (1.0, 3.0):
            request.gain = gain
            torch.testing.assert_close(fast(request), net(request), rtol=1e-4, atol=1e-5)
        found = pycnn.explain(fast, request)
    assert "an argument is a Request" in found.fallbacks[0]
    assert found.notes == ("body: is optimised by itself",)


@pytest.mark.parametrize("n", [1, 3])
def test_networks_without_a_convolution(n: int) -> None:
    x = torch.randn(n, 3, 8, 8)
    mlp = settle(nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.ReLU()))
    with torch.inference_mode():
        torch.testing.assert_close(pycnn.optimize(mlp)(x), mlp(x))
        assert pycnn.optimize(nn.Identity())(x) is x
        assert pycnn.optimize(nn.Flatten())(x).data_ptr() == x.data_ptr()
