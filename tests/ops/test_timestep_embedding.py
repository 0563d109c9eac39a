"""timestep_embedding against diffusers', eager and in plans."""

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

import pycnn
from pycnn import ops

EXACT = {
    "rtol": 0,
    "atol": 2e-7,
}  # an angle is one rounded product on both sides; a sine rounds once more


@pytest.mark.parametrize("cosine_first", [True, False])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_it_is_diffusers(cosine_first, shift):
    integers = (torch.tensor([0, 1, 37, 999]), torch.tensor([5], dtype=torch.int32))
    for steps in (*integers, torch.rand(3) * 1000, torch.zeros(0)):
        options = {"flip_sin_to_cos": cosine_first, "downscale_freq_shift": shift}
        expected = get_timestep_embedding(steps, 10, **options)
        assert torch.equal(
            ops.timestep_embedding(steps, 10, cosine_first=cosine_first, shift=shift), expected
        )
        with torch.no_grad():
            y = ops.timestep_embedding(steps, 10, cosine_first=cosine_first, shift=shift)
        torch.testing.assert_close(y, expected, **EXACT)
    halves = ops.timestep_embedding(torch.tensor([3.0, 4.0], dtype=torch.float64), 8, shift=shift)
    assert halves.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda t: ops.timestep_embedding(3, 8), TypeError, "steps must be a Tensor, got int"),
        (lambda t: ops.timestep_embedding(t[None], 8), ValueError, r"1 dimensions, got shape \(1, 2\)"),
        (lambda t: ops.timestep_embedding(t, 7), ValueError, "width=7 must be even"),
        (lambda t: ops.timestep_embedding(t, 2, shift=1.0), ValueError, "shift=1.0 is half of width=2"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call(torch.tensor([1, 2]))


def test_opcheck_and_gradients() -> None:
    waves = torch.rand(4)
    for steps in (torch.tensor([1, 2]), torch.rand(3, requires_grad=True)):
        torch.library.opcheck(torch.ops.pycnn.timestep_embedding.default, (steps, waves, True))
    steps = torch.rand(3, requires_grad=True)
    (g,) = torch.autograd.grad(ops.timestep_embedding(steps, 8).sum(), steps)
    assert g.abs().sum() > 0


class Timed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 6)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x + self.linear(ops.timestep_embedding(t, 16))[:, :, None, None]


def test_in_a_plan_for_every_integer_type() -> None:
    net, x = Timed().eval(), torch.randn(2, 6, 4, 5)
    for dtype in (torch.int64, torch.int32, torch.float32):
        fast = pycnn.optimize(net, strict=True)
        for t in (torch.tensor([3, 900]), torch.tensor([500])):
            with torch.inference_mode():
                torch.testing.assert_close(fast(x, t.to(dtype)), net(x, t), rtol=0, atol=1e-6)
    with torch.inference_mode():
        y = pycnn.optimize(net)(x, torch.tensor([3.0, 7.0], dtype=torch.float64))
        torch.testing.assert_close(y, net(x, torch.tensor([3, 7])), rtol=0, atol=1e-6)


def test_it_compiles_and_exports() -> None:
    net, x, t = Timed().eval(), torch.randn(2, 6, 4, 5), torch.tensor([3, 900])
    with torch.inference_mode():
        expected = net(x, t)
    exported = torch.export.export(net, (x, t)).module()
    torch.testing.assert_close(exported(x, t), expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x, t), expected, rtol=0, atol=1e-6)
