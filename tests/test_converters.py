"""Every converter: a call that it takes, with torch's numbers at two sizes, and in fp64 one that it must not take.

Their grids are in the tests of their ops; a converter without a row here fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captured import Fn
from nets import error
from torch import Tensor

import pycnn
from pycnn.frontend import trace

Body = Callable[[Tensor], Tensor]


SHAPES = [(8,), (5, 8), (4, 8), (4, 8, 3), (4, 8, 3, 3), (8, 4, 2, 2)]
TENSORS = {
    (dtype, shape): torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype).sin() / 2 + 0.6
    for shape in SHAPES
    for dtype in (torch.float32, torch.float64)
}


def like(x: Tensor, *shape: int) -> Tensor:
    """A tensor of the model's, made before it runs."""
    return TENSORS[x.dtype, shape]


def rows(x: Tensor) -> Tensor:
    return x.mean(3)  # [n, c, h]


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # [n, h * w, c]


CASES: dict[str, Body] = {
    "activations.relu": F.relu,
    "activations.relu6": F.relu6,
    "activations.silu": F.silu,
    "activations.hardswish": F.hardswish,
    "activations.hardsigmoid": F.hardsigmoid,
    "activations.sigmoid": torch.sigmoid,
    "activations.tanh": torch.tanh,
    "activations.mish": F.mish,
    "activations.leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "activations.elu": F.elu,
    "activations.selu": F.selu,
    "activations.gelu": F.gelu,
    "activations.hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "activations.clamp": lambda x: x.clamp(0, 6),
    "activations.clamp_min": lambda x: torch.clamp_min(x, 0),
    "arith.add": lambda x: x + x.sigmoid(),
    "arith.sub": lambda x: x - x.sigmoid(),
    "arith.rsub": lambda x: 1 - x,
    "arith.mul": lambda x: x * x.sigmoid(),
    "arith.div": lambda x: x / (x.sigmoid() + 1),
    "arith.rdiv": lambda x: 1 / (x.sigmoid() + 1),
    "arith.prelu": lambda x: F.prelu(x, like(x, 8)),
    "matmul.matmul": lambda x: x.relu() @ x.transpose(2, 3),
    "matmul.bmm": lambda x: torch.bmm(tokens(x), x.flatten(2)),
    "matmul.rmatmul": lambda x: Tensor.__rmatmul__(x.relu(), x.transpose(2, 3)),
    "matmul.baddbmm": lambda x: torch.baddbmm(tokens(x) @ x.flatten(2), tokens(x), x.flatten(2)),
    "matmul.einsum": lambda x: torch.einsum("nchw,kc->nkhw", x, like(x, 4, 8)),
    "pieces.narrow": lambda x: x.narrow(1, 2, 4).relu(),
    "pieces.select": lambda x: x.select(1, 2).relu(),
    "pieces.getitem": lambda x: x[:, 1:5].relu(),
    "reduce.mean": lambda x: x.mean((2, 3)),
    "reduce.amax": lambda x: x.amax((2, 3)),
    "reduce.sum_": lambda x: x.sum((2, 3)),
    "reduce.softmax": lambda x: F.softmax(x, 1),
    "reduce.torch_softmax": lambda x: torch.softmax(x, 1),
    "attention.attention": lambda x: F.scaled_dot_product_attention(tokens(x), tokens(x), tokens(x)),
    "windows.unfold": lambda x: x.unfold(2, 3, 1).relu(),
    "windows.im2col": lambda x: F.unfold(x, 3),
    "dense.conv2d": lambda x: F.conv2d(x, like(x, 4, 8, 3, 3)),
    "dense.conv_transpose2d": lambda x: F.conv_transpose2d(x, like(x, 8, 4, 2, 2), stride=2),
    "dense.linear": lambda x: F.linear(x.mean((2, 3)), like(x, 5, 8)),
    "dense.batch_norm": lambda x: F.batch_norm(x, like(x, 8), like(x, 8) + 1),
    "dense.torch_batch_norm": lambda x: torch.batch_norm(
        x, None, None, like(x, 8), like(x, 8) + 1, False, 0.1, 1e-5, False
    ),
    "dense.layer_norm": lambda x: F.layer_norm(tokens(x), (8,)),
    "dense.group_norm": lambda x: F.group_norm(x, 2),
    "dense.torch_group_norm": lambda x: torch.group_norm(x, 2),
    "dense.local_response_norm": lambda x: F.local_response_norm(x, 3),
    "pooling.max_pool2d": lambda x: F.max_pool2d(x, 2),
    "pooling.avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "pooling.adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 1),
    "pooling.adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 1),
    "pooling.interpolate": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "lines.conv1d": lambda x: F.conv1d(rows(x), like(x, 4, 8, 3)),
    "lines.max_pool1d": lambda x: F.max_pool1d(rows(x), 2),
    "lines.avg_pool1d": lambda x: F.avg_pool1d(rows(x), 2),
    "lines.adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(rows(x), 1),
    "lines.adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(rows(x), 1),
    "movement.flatten": lambda x: x.flatten(1).relu(),
    "movement.reshape": lambda x: x.reshape(x.shape[0], 2, 4, *x.shape[2:]).relu(),
    "movement.reshape_as": lambda x: x.relu().reshape_as(x.sigmoid()),
    "movement.convert_pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "movement.constant_pad_nd": lambda x: torch.constant_pad_nd(x, (1, 2, 0, 1)),
    "movement.dropout": lambda x: F.dropout1d(x.mean((2, 3)), 0.5, training=False),
    "movement.identity": lambda x: x.relu().clone(),
    "movement.contiguous": lambda x: x.transpose(2, 3).contiguous(),
    "movement.stack": lambda x: torch.stack([x.relu(), x.sigmoid()], 1),
    "movement.to": lambda x: x.relu().to(x.dtype, copy=True),
    "movement.cat": lambda x: torch.cat([x.relu(), x.sigmoid()], 1),
    "rearrange.permute": lambda x: x.permute(0, 2, 3, 1).relu(),
    "rearrange.transpose": lambda x: x.transpose(2, 3).relu(),
    "rearrange.matrix_transpose": lambda x: x.mT.relu(),
    "rearrange.t": lambda x: x.mean((2, 3)).t().relu(),
    "rearrange.transposed": lambda x: x.mean((2, 3)).T.relu(),
    "rearrange.movedim": lambda x: x.movedim(1, 3).relu(),
    "rearrange.unsqueeze": lambda x: x.unsqueeze(2).relu(),
    "rearrange.squeeze": lambda x: x.mean((2, 3), keepdim=True).squeeze(3).relu(),
    "rearrange.expand": lambda x: x.mean(1, keepdim=True).expand(-1, 8, -1, -1).relu(),
    "rearrange.expand_as": lambda x: x.mean(1, keepdim=True).expand_as(x).relu(),
    "rearrange.unflatten": lambda x: x.unflatten(1, (2, 4)).relu(),
    "rearrange.channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "rearrange.pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "rearrange.pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "statistics.sqrt": lambda x: x.sigmoid().sqrt(),
    "statistics.rsqrt": lambda x: x.sigmoid().rsqrt(),
    "statistics.square": lambda x: x.square(),
    "statistics.power": lambda x: x.pow(2),
    "statistics.maximum": lambda x: torch.maximum(x, x.sigmoid()),
    "statistics.addcmul": lambda x: torch.addcmul(x, x.sigmoid(), x.relu()),
    "statistics.var": lambda x: x.var((2, 3)),
    "statistics.std": lambda x: x.std((2, 3)),
    "statistics.norm": lambda x: x.norm(dim=1),
    "statistics.vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "statistics.normalize": lambda x: F.normalize(x, dim=1),
}  # fmt: skip
# timestep_embedding is an op of pycnn's own, always in fp32.
OWN = {"attention.timestep_embedding"}


def name_of(func: Callable[..., Any], converter: Callable[..., Any]) -> str:
    family, name = converter.__module__.rsplit(".", 1)[1], converter.__name__
    if name == "convert":  # one for each activation
        name = getattr(func, "__name__", "").rstrip("_")
    return f"{family}.{name}"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the converters that took a call."""
    found: set[str] = set()

    def noting(name: str, converter: Callable[..., Any]) -> Callable[..., Any]:
        def convert(*args: Any, **kwargs: Any) -> Any:
            result = converter(*args, **kwargs)
            found.add(name)
            return result

        return convert

    noted = {f: noting(name_of(f, c), c) for f, c in trace.CONVERTERS.items()}
    monkeypatch.setattr(trace, "CONVERTERS", noted)
    return found


def test_every_converter_has_a_case() -> None:
    assert {name_of(f, c) for f, c in trace.CONVERTERS.items()} == {*CASES, *OWN}


@pytest.mark.parametrize("name", CASES)
def test_it_takes_its_call(name: str, taken: set[str]) -> None:
    net = Fn(lambda _, x: CASES[name](x)).eval()
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        for n, size in ((2, 6), (1, 8)):
            x = torch.randn(n, 8, size, size)
            y, own = fast(x), net(x.double())
            assert name in taken
            assert y.shape == own.shape and y.dtype == x.dtype
            assert error(y, own) <= 1e-5


@pytest.mark.parametrize("name", CASES)
def test_it_does_not_take_fp64(name: str, taken: set[str]) -> None:
    net = Fn(lambda _, x: CASES[name](x)).eval()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    with torch.inference_mode():
        y, own = pycnn.optimize(net)(x), net(x)
    assert not taken
    assert y.dtype == own.dtype and torch.equal(y, own)
