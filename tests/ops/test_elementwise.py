"""elementwise against torch's activations."""

import logging
from collections.abc import Callable

import pinned
import pytest
import torch
from torch import Tensor

from pycnn import ops

# csrc/base/simd/activate.h states 4e-7 absolute for tanh and sigmoid; silu, gelu, mish multiply that by |x| <= 30.
TOLERANCE = dict.fromkeys(("silu", "gelu", "gelu_tanh", "mish"), 30 * 4e-7)
NAMES = [name for name in ops.ACTS if name != "none"]
SLOPE = 0.3


def check(y: Tensor, x: Tensor, act: str) -> None:
    expected = ops.apply_act(x.double(), act, SLOPE)
    assert y.shape == expected.shape
    atol = TOLERANCE.get(act, 5e-7)
    torch.testing.assert_close(y.double(), expected, rtol=3e-7, atol=atol, equal_nan=True)


def pinned_act(kernel: str, x: Tensor, act: str, ldx: int, ldy: int, workers: int = 1) -> Tensor:
    """One kernel on rows x [pixels, c]."""
    params = {
        "pixels": x.shape[0],
        "c": x.shape[1],
        "ldx": ldx,
        "ldy": ldy,
        "act": ops.ACTS[act],
        "act_param": SLOPE,
    }
    return pinned.call(
        "elementwise", kernel, params, pinned.spread(x, ldx), tuple(x.shape), workers=workers
    )


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", pinned.kernels("elementwise"))
def test_every_kernel_at_vector_edges(kernel: str, act: str) -> None:
    for c in (*pinned.EDGES, 2051):
        x = torch.randn(5, c) * 5
        for ldx, ldy in ((c, c), (c + 3, c), (c, c + 2), (c + 1, c + 5)):
            check(pinned_act(kernel, x, act, ldx, ldy), x, act)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", pinned.kernels("elementwise"))
def test_the_whole_range_of_fp32(kernel: str, act: str) -> None:
    magnitudes = torch.logspace(-37, 1.4, 500)
    x = torch.cat([-magnitudes, magnitudes, torch.tensor([0.0, -0.0, 3.0, -3.0, 6.0])])[None]
    check(pinned_act(kernel, x, act, x.shape[1], x.shape[1]), x, act)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", pinned.kernels("elementwise"))
def test_nan_infinities_and_huge_values_as_in_torch(kernel: str, act: str) -> None:
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 90.0, -90.0, 1e4, -1e4, 1e37, -1e37] * 4)
    x = x[None]
    check(pinned_act(kernel, x, act, x.shape[1], x.shape[1]), x, act)


@pytest.mark.parametrize("kernel", pinned.kernels("elementwise"))
def test_bits_do_not_depend_on_workers(kernel: str) -> None:
    x = torch.randn(7, 37)
    for ld in (37, 40):
        one = pinned_act(kernel, x, "gelu", ld, ld)
        for workers in (2, 3, 11):
            assert torch.equal(pinned_act(kernel, x, "gelu", ld, ld, workers), one)


def views() -> list[Tensor]:
    x = torch.randn(2, 19, 7, 9)
    last = x.contiguous(memory_format=torch.channels_last)
    return [
        x, last, x[:, 3:8], last[:, 3:8], x[:, :, 1:6, 2:8], last[:, :, 1:6, 2:8], x[:1].expand(3, -1, -1, -1),
        x[:, :1].expand(-1, 5, -1, -1), x[:, :, :1, :1].expand(-1, -1, 4, 3), x.permute(3, 1, 0, 2), x[:0], last[:0],
        x[..., ::2], x[:, :, :1, :1], last[:, :, :1, :1],
        torch.randn(2, 5, 1, 1).as_strided((2, 5, 1, 1), (5, 1, 5, 5)),
        torch.randn(2, 1, 4, 5).as_strided((2, 1, 4, 5), (20, 1, 5, 1)),
        x[0], x[0, 0, 0], x[0, 0, 0, 0], x[:, 0, 0].T,
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(len(views())))
def test_views_keep_torchs_values_and_strides(i: int) -> None:
    x = views()[i]
    for act in NAMES:
        y = ops.elementwise(x, act, SLOPE)
        check(y, x, act)
        # torch's relu6 alone keeps the strides of sizes 1 and 0, which say nothing.
        if act != "relu6" or (1 not in x.shape and x.numel() > 0):
            assert y.stride() == ops.apply_act(x, act, SLOPE).stride()
        assert y.data_ptr() != x.data_ptr() or x.numel() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.elementwise("x", "relu"),
            TypeError,
            "elementwise: x must be a Tensor, got str",
        ),
        (
            lambda: ops.elementwise(torch.zeros(1), "swish"),
            ValueError,
            "act='swish' is not one of none, relu, ",
        ),
    ],
)
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.randn(3, dtype=torch.float64), "no kernel for torch.float64"),
        (torch.randn(3, requires_grad=True), "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    x: Tensor, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    for act in NAMES:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "pycnn.ops"):
            y = ops.elementwise(x, act, SLOPE)
        assert torch.equal(y, ops.apply_act(x, act, SLOPE))
        assert reason in caplog.text


@pytest.mark.parametrize("act", NAMES)
def test_opcheck(act: str) -> None:
    x = torch.randn(2, 5, 3, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.pycnn.elementwise.default, (x, ops.ACTS[act], SLOPE, ""))


@pytest.mark.parametrize("act", NAMES)
def test_opcheck_of_channels_last_and_slices(act: str) -> None:
    last = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last)
    for x in (last, last[:, :3]):
        torch.library.opcheck(torch.ops.pycnn.elementwise.default, (x, ops.ACTS[act], SLOPE, ""))


@pinned.fp32_gradcheck
@pytest.mark.parametrize("act", NAMES)
def test_gradcheck(act: str) -> None:
    # No value within a step of a kink (0, 6, +-3).
    x = torch.tensor([-4.3, -2.6, -1.2, -0.4, 0.3, 1.7, 2.5, 4.4, 7.1]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.elementwise(x, act, SLOPE), x)
    small = x.detach().float().requires_grad_()
    raw = torch.ops.pycnn.elementwise
    assert torch.autograd.gradcheck(
        lambda x: raw(x, ops.ACTS[act], SLOPE, ""), small, eps=1e-2, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("act", NAMES)
def test_the_raw_ops_gradient_is_torchs_bit_for_bit(act: str) -> None:
    x = (torch.randn(100) * 4).requires_grad_()
    g = torch.randn(100)
    (ours,) = torch.autograd.grad(torch.ops.pycnn.elementwise(x, ops.ACTS[act], SLOPE, ""), x, g)
    (torchs,) = torch.autograd.grad(ops.apply_act(x, act, SLOPE), x, g)
    assert torch.equal(ours, torchs)
