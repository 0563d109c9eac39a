"""Products of activations in networks: attention with a bias, shared keys, gathered context."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, lowered
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import ir
from pycnn.planning.formats import is_channels_last

HEADS, D = 4, 8


def check(
    net: nn.Module, *shapes: tuple[int, ...], strict: bool = True
) -> tuple[list[str], nn.Module]:
    """Numbers, strides and one capture for all shapes; the kernels of the first."""
    fast = pycnn.optimize(net.eval(), strict=strict)
    with torch.inference_mode():
        for shape in shapes:
            x = torch.randn(shape)
            given = [x, x.contiguous(memory_format=torch.channels_last)] if x.dim() == 4 else [x]
            for each in given:
                y, wanted = fast(each), net(each)
                assert error(y, truth(net, each)) < 1e-5
                assert y.shape == wanted.shape
                assert y.dim() != 4 or is_channels_last(y) == is_channels_last(wanted)
        return [step.op for step in pycnn.explain(fast, torch.randn(shapes[0])).steps], fast


class Biased(nn.Module):
    """As LeViT and EfficientFormer write it: one projection, a bias of each head that all images share."""

    def __init__(self, tokens: int = 9, lead: tuple[int, ...] = (HEADS,)) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(24, HEADS * 4 * D), nn.Linear(HEADS * 2 * D, 24)
        self.bias = nn.Parameter(torch.randn(*lead, tokens, tokens))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(n, tokens, HEADS, -1).split([D, D, 2 * D], dim=3)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        scores = q @ k * D**-0.5 + self.bias
        y = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, tokens, HEADS * 2 * D)
        return self.proj(y)


@pytest.mark.parametrize("lead", [(HEADS,), (1, HEADS), (1, 1), ()])
def test_scale_and_bias_of_each_head_are_part_of_the_product(lead: tuple[int, ...]) -> None:
    net = Biased(lead=lead)
    steps, fast = check(net, (2, 9, 24), (1, 9, 24), (5, 9, 24))
    assert steps == ["linear", "matmul", "softmax", "matmul", "linear"]
    fused = [s.fused for s in pycnn.explain(fast, torch.randn(2, 9, 24)).steps if s.op == "matmul"]
    assert fused == ["scale + addition", ""]
    with torch.inference_mode():
        x = torch.randn(2, 9, 24)
        net.bias.mul_(-3)
        assert error(fast(x), truth(net, x)) < 1e-5


def test_sizes_are_not_baked_in() -> None:
    class Plain(Biased):
        def forward(self, x: Tensor) -> Tensor:
            n, tokens, _ = x.shape
            q, k, v = self.qkv(x).view(n, tokens, HEADS, -1).split([D, D, 2 * D], dim=3)
            scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / 3
            return (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).flatten(2)

    graph = lowered(Plain(), (2, 9, 24), (1, 5, 24), (3, 17, 24))
    assert graph.has(matmul=2, linear=1, softmax=1, rearrange=0, permute=0, slice=0, arith=0)
    first, second = (node.op for node in graph.nodes if isinstance(node.op, ir.MatMul))
    assert first.scale == pytest.approx(1 / 3) and second.scale == 1


class Maps(nn.Module):
    """As BotNet writes it: pixels of a map as tokens, relative positions added, written back as a map."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.rel = nn.Conv2d(6, 3 * HEADS * D, 1), nn.Parameter(torch.randn(20, D))

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=1)
        q = q.reshape(n * HEADS, D, -1).transpose(-1, -2)
        k, v = k.reshape(n * HEADS, D, -1), v.reshape(n * HEADS, D, -1).transpose(-1, -2)
        scores = (q @ k) * 0.3 + q @ self.rel.transpose(-1, -2)
        return (scores.softmax(-1) @ v).transpose(-1, -2).reshape(n, HEADS * D, h, w)


def test_heads_of_a_map_are_multiplied_where_they_lie() -> None:
    steps, _ = check(Maps(), (2, 6, 4, 5))
    assert steps.count("matmul") == 2 and steps.count("linear") == 1 and "add_act" not in steps
    steps, _ = check(Maps(), (1, 6, 4, 5), (3, 6, 2, 10))


class Shared(nn.Module):
    """Multi-query attention: keys and values that all heads share."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Conv2d(6, HEADS * D, 1), nn.Conv2d(6, 2 * D, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q = self.q(x).reshape(n, HEADS, D, -1).transpose(-1, -2)
        k, v = self.kv(x).reshape(n, 1, 2 * D, -1).split([D, D], dim=2)
        y = (q @ k * 0.2).softmax(-1) @ v.transpose(-1, -2)
        return y.transpose(-1, -2).reshape(n, HEADS * D, h, w)


def test_keys_that_all_heads_share_are_not_copied() -> None:
    steps, _ = check(Shared(), (2, 6, 4, 5), (1, 6, 3, 3), (3, 6, 7, 2))
    assert steps.count("matmul") == 2 and steps.count("rearrange") == 0


def test_gathered_context_and_linear_attention() -> None:
    def context(m: nn.Module, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        weights = F.softmax(m.conv(x).reshape(n, 1, h * w), dim=-1).unsqueeze(3)
        return x * (x.reshape(n, c, h * w).unsqueeze(1) @ weights).view(n, c, 1, 1)

    steps, _ = check(Fn(context, conv=nn.Conv2d(6, 1, 1)), (2, 6, 4, 5), (1, 6, 3, 7))
    assert steps.count("matmul") == 1

    def linear(m: nn.Module, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = m.conv(x).reshape(n, 3, HEADS, D, h * w).transpose(-1, -2).unbind(1)
        y = q.relu() @ (k.relu().transpose(-1, -2) @ F.pad(v, (0, 1), value=1.0))
        y = y[..., :-1] / (y[..., -1:] + 1e-3)
        return y.transpose(-1, -2).reshape(n, HEADS * D, h, w)

    steps, _ = check(Fn(linear, conv=nn.Conv2d(6, 3 * HEADS * D, 1)), (2, 6, 4, 5), (1, 6, 3, 7))
    assert steps.count("matmul") == 2


@pytest.mark.parametrize("case", ["value", "model", "heads"])
def test_scaled_dot_product_attention_with_a_float_mask(case: str) -> None:
    bias = nn.Parameter(torch.randn(HEADS, 9, 9))

    def attend(m: nn.Module, x: Tensor) -> Tensor:
        q, k, v = x.relu(), x * 2, x.tanh()
        mask = {"value": (x @ x.mT).tanh(), "model": m.bias, "heads": m.bias[:1]}[case]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.4)

    net = Fn(attend)
    net.bias = bias
    steps, _ = check(net, (2, HEADS, 9, D), (1, HEADS, 9, D))
    assert steps.count("matmul") == (3 if case == "value" else 2) and "softmax" in steps


def test_scaled_dot_product_attention_with_shared_keys() -> None:
    def attend(m: nn.Module, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x * 2, x[:, :1].relu(), x[:, 1:2].tanh())

    steps, _ = check(Fn(attend), (2, HEADS, 9, D), (1, HEADS, 5, D))
    assert steps.count("matmul") == 2 and "softmax" in steps


def test_a_boolean_mask_is_torchs() -> None:
    keep = torch.ones(5, 5, dtype=torch.bool).tril()
    net = Fn(lambda m, x: F.scaled_dot_product_attention(x, x, x, attn_mask=keep)).eval()
    fast, x = pycnn.optimize(net), torch.randn(2, 3, 5, 8)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) < 1e-5
    assert len(pycnn.explain(fast, x).fallbacks) == 1


SPELLINGS: dict[str, tuple[Callable[[nn.Module, Tensor], object], tuple[int, ...]]] = {
    "matmul": (lambda m, x: torch.matmul(x, x.mT), (2, 3, 5)),
    "at": (lambda m, x: x @ x.relu().mT, (2, 3, 4, 5)),
    "bmm": (lambda m, x: torch.bmm(x, x.mT.tanh()), (2, 3, 5)),
    "mm": (lambda m, x: torch.mm(x.relu(), x.t()), (3, 5)),
    "baddbmm": (lambda m, x: torch.baddbmm(x, x @ x.mT, x * 2, beta=0.5, alpha=-2), (2, 4, 5)),
    "baddbmm without": (lambda m, x: torch.baddbmm(x, x @ x.mT, x * 2, beta=0), (2, 4, 5)),
    "a matrix for all": (lambda m, x: x @ x[0, 0].relu().mT, (2, 3, 4, 5)),
    "both repeat": (lambda m, x: x[:, None] @ x.relu().mT[None], (3, 4, 5)),
    "one row": (lambda m, x: x[:, :1] @ x.mT, (2, 3, 5)),
    "a matrix of the model": (lambda m, x: torch.matmul(x, m.w) + 1, (2, 3, 5)),
    "einsum": (lambda m, x: torch.einsum("bhid,bhjd->bhij", x, x.relu()), (2, 3, 4, 5)),
    "einsum out of order": (lambda m, x: torch.einsum("bij,bik->kbj", x, x.relu()), (2, 3, 5)),
    "einsum of several": (lambda m, x: torch.einsum("nchw,nkhw->nck", x, x.relu()), (2, 3, 4, 5)),
    "einsum joined": (lambda m, x: torch.einsum("nchw,ndhv->ncwdv", x, x.relu()), (2, 3, 4, 5)),
    "einsum of matrices": (lambda m, x: torch.einsum("ij,kj->ik", x, x.relu()), (3, 5)),
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling(case: str) -> None:
    function, shape = SPELLINGS[case]
    net = Fn(function).eval()
    net.w = nn.Parameter(torch.randn(5, 6))
    fast = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for first in (shape[0], 1, shape[0] + 2):
            x = torch.randn(first, *shape[1:])
            assert error(fast(x), truth(net, x)) < 1e-5
            assert fast(x).shape == net(x).shape


def test_einsums_have_torchs_memory_format_in_any_order() -> None:
    for first, second, out in (("bhid", "bhjd", "bhij"), ("ncij", "nkc", "nkij")):
        for order in itertools.permutations(out):
            equation = f"{first},{second}->{''.join(order)}"

            def function(m: nn.Module, x: Tensor, e: str = equation, s: str = second) -> Tensor:
                return torch.einsum(e, x, x.relu() if len(s) == 4 else x.mean(2)[:, :, :3])

            assert "matmul" in check(Fn(function), (2, 3, 4, 5))[0]


def test_a_batch_of_one_is_not_special() -> None:
    """Captured where the batch is 1: what the first image alone has is still repeated for others."""
    net = Fn(lambda m, x: x @ x[:1].relu().mT @ x[:1].reshape(1, 3, 5))
    assert lowered(net, (1, 3, 5), (4, 3, 5)).has(matmul=2)
    assert lowered(Biased(), (1, 9, 24), (3, 9, 24)).has(matmul=2)


REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor], object], str]] = {
    "a vector": (lambda m, x: x @ x[0, 0], "3 and 1 axes"),
    "a matrix times a batch": (lambda m, x: x[0] @ x.mT, "2 and 3 axes"),
    "a batch of the model": (lambda m, x: x @ m.w, "expected size"),
    "another dtype": (lambda m, x: (x.double() @ x.double().mT).float(), "torch.float64"),
    "a sum of one operand": (lambda m, x: torch.einsum("bij,bkl->bik", x, x), "no batched product"),
    "a diagonal": (lambda m, x: torch.einsum("bii,bij->bij", x[:, :, :3], x), "no batched product"),
    "nothing summed": (lambda m, x: torch.einsum("bij,bij->bij", x, x), "sums nothing"),
    "three operands": (lambda m, x: torch.einsum("bij,bkj,bkl->bil", x, x, x), "not of two"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_torch_keeps_it_and_explain_says_why(case: str) -> None:
    function, reason = REFUSED[case]
    net = Fn(function).eval()
    net.w = nn.Parameter(torch.randn(2, 5, 5))
    fast, x = pycnn.optimize(net), torch.randn(2, 3, 5)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) < 1e-5
    assert any(reason in line for line in pycnn.explain(fast, x).fallbacks)


def test_operands_that_no_strides_tell_are_copied() -> None:
    """Windows whose rows lie at two distances, and a result that is cut into maps."""

    def windows(m: nn.Module, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.relu().reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
        z = (y @ y.mT) @ y
        return z.reshape(n, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)

    steps, _ = check(Fn(windows), (2, 6, 4, 8), (1, 6, 6, 4))
    assert steps.count("matmul") == 2


def test_bits_of_an_image_are_its_own_and_threads_do_not_matter() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), Maps()).eval()
    net[1].qkv = nn.Conv2d(24, 3 * HEADS * D, 1)
    images = torch.randn(5, 3, 6, 7)
    with torch.inference_mode():
        alone = pycnn.optimize(net, batch_invariant=True, threads=1, strict=True)
        expected = torch.cat([alone(image[None]) for image in images])
        for threads in (1, 2):
            fast = pycnn.optimize(net, batch_invariant=True, threads=threads)
            for batch in (2, 3, 5):
                assert torch.equal(torch.cat([fast(p) for p in images.split(batch)]), expected)


def test_saved_and_loaded(tmp_path) -> None:
    net, x = Biased().eval(), torch.randn(2, 9, 24)
    fast = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        y = fast(x)
        pycnn.save(fast, tmp_path / "net.pycnn")
        assert torch.equal(pycnn.load(tmp_path / "net.pycnn")(x), y)
