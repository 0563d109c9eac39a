"""pixel_shuffle, pixel_unshuffle and channel_shuffle against torch's: bit for bit, any strides."""

import pinned
import pytest
import torch
import torch.nn.functional as F

from pycnn import ops

PAIRS = {
    "pixel_shuffle": (ops.pixel_shuffle, F.pixel_shuffle),
    "pixel_unshuffle": (ops.pixel_unshuffle, F.pixel_unshuffle),
    "channel_shuffle": (ops.channel_shuffle, F.channel_shuffle),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_strides_give_torchs_bits_and_strides(name: str, number: int) -> None:
    mine, torchs = PAIRS[name]
    x = torch.randn(2, 36, 12, 18)
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (x, last, x[:1], x.transpose(2, 3), last[:, :, :6], x[:, :, ::2], x[..., 6:12], x.expand(2, 36, 12, 18),
                 torch.randn(1, 36, 12, 18).expand(3, -1, -1, -1)):  # fmt: skip
        y, expected = mine(view, number), torchs(view, number)
        assert torch.equal(y, expected)
        formats = (torch.contiguous_format, torch.channels_last)
        assert [y.is_contiguous(memory_format=f) for f in formats] == [
            expected.is_contiguous(memory_format=f) for f in formats
        ]


@pytest.mark.parametrize("kernel", pinned.kernels("rearrange"))
@pytest.mark.parametrize("name", PAIRS)
def test_every_kernel(kernel: str, name: str) -> None:
    x = torch.randn(2, 16, 6, 10)
    raw = getattr(torch.ops.pycnn, name)
    for view in (x, x.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(raw(view, 2, kernel), PAIRS[name][1](view, 2))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: ops.pixel_shuffle(3, 2), TypeError, "x must be a Tensor, got int"),
        (lambda x: ops.pixel_shuffle(x, 2), ValueError, "c=6 is no multiple of r=2 squared"),
        (lambda x: ops.pixel_shuffle(x[0], 2), ValueError, "x must have 4 dimensions"),
        (lambda x: ops.pixel_unshuffle(x, 3), ValueError, r"\(4, 5\) is no multiple of r=3"),
        (lambda x: ops.pixel_unshuffle(x, 0), ValueError, "r=0 must be a positive integer"),
        (lambda x: ops.channel_shuffle(x, 4), ValueError, "groups=4 does not divide c=6"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(torch.zeros(2, 6, 4, 5))


@pytest.mark.parametrize("name", PAIRS)
def test_opcheck_and_gradients(name: str) -> None:
    x = torch.randn(1, 8, 4, 6, requires_grad=True)
    raw, torchs = getattr(torch.ops.pycnn, name), PAIRS[name][1]
    torch.library.opcheck(raw.default, (x, 2, ""))
    y = raw(x, 2, "")
    g = torch.randn(y.shape)
    (mine,), (theirs,) = torch.autograd.grad(y, x, g), torch.autograd.grad(torchs(x, 2), x, g)
    assert torch.equal(mine, theirs)
