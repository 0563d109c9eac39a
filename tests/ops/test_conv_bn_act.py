"""conv_bn_act: the fold equals the modules within its bound; where it must not fold, the modules run exactly."""

import copy
from collections.abc import Callable

import pytest
import tolerance
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pycnn import ops


def modules(bn: bool = True, **options: object) -> tuple[nn.Conv2d, nn.BatchNorm2d | None]:
    """A convolution of 8 channels to 12 and, in eval, a norm whose statistics and affine are not the identity."""
    conv = nn.Conv2d(8, 12, 3, **{"padding": 1, **options})
    if not bn:
        return conv, None
    norm = nn.BatchNorm2d(12).eval()
    for t, low, high in (
        (norm.running_mean, -1, 1),
        (norm.running_var, 0.2, 2),
        (norm.weight.data, -2, 2),
        (norm.bias.data, -1, 1),
    ):
        t.uniform_(low, high)
    return conv, norm


def composition(
    x: Tensor, conv: nn.Module, bn: nn.Module | None, act: str, residual: Tensor | None
) -> Tensor:
    y = conv(x)
    y = y if bn is None else bn(y)
    return ops.apply_act(y if residual is None else y + residual, act)


def bound(x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, residual: Tensor | None) -> Tensor:
    """Of the sum that is left after the fold, whose magnitude takes mean and scale by their absolute values."""
    absolute = copy.deepcopy(conv).double()
    for p in absolute.parameters():
        p.data.abs_()
    magnitude = absolute(x.double().abs())
    if bn is not None:
        scale = (bn.running_var.double() + bn.eps).rsqrt() * (
            1 if bn.weight is None else bn.weight.abs()
        )
        shift = 0 if bn.bias is None else bn.bias.abs()[:, None, None]
        magnitude = (magnitude + bn.running_mean.abs()[:, None, None]) * scale[
            :, None, None
        ] + shift
    if residual is not None:
        magnitude = magnitude + residual.abs()
    return tolerance.sums(conv.weight[0].numel(), magnitude)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"stride": 2, "groups": 4},
        {"padding": "same", "dilation": 2},
        {"padding": (0, 2)},
    ],
)
@torch.no_grad()
def test_the_fold_equals_the_modules(options: dict[str, object], act: str) -> None:
    x = torch.randn(2, 8, 9, 7)
    for bn in (True, False):
        conv, norm = modules(bn, **options)
        for residual in (None, torch.randn_like(conv(x))):
            args = (norm, "none", residual)
            before = composition(
                x.double(),
                copy.deepcopy(conv).double(),
                None if norm is None else copy.deepcopy(norm).double(),
                "none",
                None if residual is None else residual.double(),
            )
            limit = bound(x, conv, norm, residual)
            tolerance.check(ops.conv_bn_act(x, conv, *args), before, limit)
            y = ops.conv_bn_act(x, conv, norm, act, residual)
            tolerance.check(y, ops.apply_act(before, act), tolerance.activated(before, limit))


@torch.no_grad()
def test_a_norm_without_affine_folds() -> None:
    x, (conv, _) = torch.randn(2, 8, 9, 7), modules()
    norm = nn.BatchNorm2d(12, affine=False).eval()
    norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.2, 2)
    before = copy.deepcopy(norm).double()(copy.deepcopy(conv).double()(x.double()))
    y = ops.conv_bn_act(x, conv, norm, "relu")
    limit = bound(x, conv, norm, None)
    tolerance.check(y, before.relu(), limit)


@torch.no_grad()
def test_changed_weights_and_statistics_are_seen_at_the_next_call() -> None:
    x, (conv, norm) = torch.randn(2, 8, 9, 7), modules()
    ops.conv_bn_act(x, conv, norm)
    conv.weight.mul_(2), norm.running_mean.add_(1), norm.bias.sub_(3)
    before = copy.deepcopy(norm).double()(copy.deepcopy(conv).double()(x.double()))
    tolerance.check(ops.conv_bn_act(x, conv, norm), before, bound(x, conv, norm, None))


class Shifted(nn.Conv2d):
    """A convolution whose forward is its own, as weight standardisation's or "same" padding's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Standardised(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class ShiftedNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def hooked(which: int, pre: bool) -> tuple[nn.Module, nn.Module]:
    pair = modules()
    if pre:
        pair[which].register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    else:
        pair[which].register_forward_hook(lambda _, args, y: y * 2)
    return pair


NOT_FOLDED: dict[str, Callable[[], tuple[nn.Module, nn.Module | None]]] = {
    "training": lambda: (modules()[0], modules()[1].train()),
    "no running statistics": lambda: (
        modules()[0],
        nn.BatchNorm2d(12, track_running_stats=False).eval(),
    ),
    "reflect": lambda: modules(padding_mode="reflect"),
    "circular": lambda: modules(padding_mode="circular"),
    "hook of conv": lambda: hooked(0, False),
    "hook of bn": lambda: hooked(1, False),
    "pre-hook of conv": lambda: hooked(0, True),
    "pre-hook of bn": lambda: hooked(1, True),
    "forward of conv": lambda: (Shifted(8, 12, 3), modules()[1]),
    "_conv_forward": lambda: (Standardised(8, 12, 3), modules()[1]),
    "forward of bn": lambda: (modules()[0], ShiftedNorm(12).eval()),
    "instance norm": lambda: (
        modules()[0],
        nn.InstanceNorm2d(12, track_running_stats=True).train(),
    ),
}


@pytest.mark.parametrize("name", NOT_FOLDED)
@torch.no_grad()
def test_what_is_not_a_fold_runs_the_modules_exactly(name: str) -> None:
    conv, bn = NOT_FOLDED[name]()
    twins = copy.deepcopy((conv, bn))
    x = torch.randn(2, 8, 9, 7)
    y = ops.conv_bn_act(x, conv, bn, "silu")
    assert torch.equal(y, composition(x, *twins, "silu", None))
    for t, twin in zip(bn.buffers(), twins[1].buffers(), strict=True):
        assert torch.equal(t, twin)  # training has updated the running statistics once


@torch.no_grad()
def test_a_parametrized_weight_folds_as_the_module_computes_it() -> None:
    x, (conv, norm) = torch.randn(2, 8, 9, 7), modules()
    parametrizations.weight_norm(conv).parametrizations.weight.original0.mul_(3)
    expected = composition(x, conv, norm, "relu", None)
    torch.testing.assert_close(
        ops.conv_bn_act(x, conv, norm, "relu"), expected, rtol=1e-5, atol=1e-5
    )


def test_gradients_are_the_modules_bit_for_bit() -> None:
    x, residual = torch.randn(2, 8, 9, 7, requires_grad=True), torch.randn(2, 12, 9, 7)
    for training in (False, True):
        conv, norm = modules()
        norm.train(training)
        twins = copy.deepcopy((conv, norm))
        ours = ops.conv_bn_act(x, conv, norm, "gelu", residual)
        torchs = composition(x, *twins, "gelu", residual)
        assert torch.equal(ours, torchs)
        g = torch.randn_like(ours)
        got = torch.autograd.grad(ours, [x, *conv.parameters(), *norm.parameters()], g)
        want = torch.autograd.grad(torchs, [x, *(p for m in twins for p in m.parameters())], g)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@torch.no_grad()
def test_nan_goes_through() -> None:
    x, (conv, norm) = torch.randn(2, 8, 9, 7), modules()
    x[0, 3, 4, 4] = torch.nan
    y = ops.conv_bn_act(x, conv, norm, "relu")
    assert torch.equal(y.isnan(), F.relu(norm(conv(x))).isnan())


@torch.no_grad()
def test_a_bad_argument_is_one_clear_sentence() -> None:
    x, (conv, norm) = torch.randn(2, 8, 9, 7), modules()
    with pytest.raises(ValueError, match="^conv_bn_act: act='swish' is not one of none, relu"):
        ops.conv_bn_act(x, conv, norm, "swish")
    with pytest.raises(ValueError, match="^conv2d: weight takes 8 channels, x has 7"):
        ops.conv_bn_act(x[:, :7], conv, norm)
    with pytest.raises(ValueError, match="^conv2d: residual has shape"):
        ops.conv_bn_act(x, conv, norm, residual=x)
    with pytest.raises(ValueError, match="^conv_bn_act: bn has 1 features, conv gives 12"):
        ops.conv_bn_act(x, conv, nn.BatchNorm2d(1).eval())
