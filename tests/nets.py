"""Networks typed by hand, as a user of torch.nn would, and the error measure of every end-to-end test."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pycnn
from pycnn.planning import sections


def settle(net: nn.Module) -> nn.Module:
    """Eval mode, with batch-norm statistics that are not the identity's."""
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 2)
            if m.affine:
                nn.init.uniform_(m.weight, 0.5, 1.5)
                nn.init.normal_(m.bias, 0, 0.2)
    return net.eval()


def truth(net: nn.Module, *args: Any) -> Tensor:
    """The net's result in fp64."""
    with torch.no_grad():
        result: Tensor = copy.deepcopy(net).double()(
            *[a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
        )
    return result


def error(y: Tensor, ref: Tensor) -> float:
    """max |y - ref| / max |ref|."""
    return float((y.double() - ref).abs().max() / ref.abs().max())


def fast(net: nn.Module, *args: Any, **options: Any) -> Any:
    """What the optimised net gives in inference mode."""
    with torch.inference_mode():
        return pycnn.optimize(net, **options)(*args)


def verified(model: nn.Module, *args: Any, **kwargs: Any) -> pycnn.Certificate:
    """What `verify` finds of the optimised model."""
    return pycnn.verify(pycnn.optimize(model), model, *args, **kwargs)


def every_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of batches from now on every stretch of layers that may run image by image does."""
    monkeypatch.setattr(sections, "_CACHES", 0)
    monkeypatch.setattr(sections, "_WEIGHTS", 1e9)


def conv_bn(c: int, k: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    padding = options.pop("padding", kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c, k, kernel, padding=padding, bias=False, **options), nn.BatchNorm2d(k)
    )


class Branches(nn.Module):
    """Concat of branches of which one is used twice, nested concat, residual, pooling, flatten of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 8), nn.ReLU())
        self.a, self.b = conv_bn(8, 12, 1), conv_bn(8, 5)
        self.c = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 7, 1))
        self.mix = nn.Sequential(nn.Conv2d(32, 24, 3, padding=1), nn.SiLU())
        self.down = nn.AdaptiveAvgPool2d(3)
        self.head = nn.Linear(24 * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = torch.cat([self.a(x), x], 1)
        joined = torch.cat([inner, self.b(x), self.c(x)], 1)
        y = self.mix(joined)
        y = torch.relu(y + joined[:, :24])
        return self.head(self.down(y).flatten(1))


class Views(nn.Module):
    """reshape(n, -1) read from sizes; interpolation to another tensor's size: torch ops inside."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = conv_bn(3, 16, stride=2), conv_bn(16, 3)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.down(x))
        y = nn.functional.interpolate(y, size=x.shape[2:], mode="nearest")
        return (self.up(y) + x).reshape(x.size(0), -1)


class Outputs(nn.Module):
    """A dict of a map, a vector, a constant and the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_bn(3, 16)

    def forward(
        self, x: Tensor, scale: float = 1.0, *, extra: Tensor | None = None
    ) -> dict[str, Any]:
        y = self.body(x)
        if extra is not None:
            y = y + extra
        return {"map": y * scale, "pair": (y.mean((2, 3)), 7), "input": x}
