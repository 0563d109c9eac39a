"""The memory planner against its verifier, and the verifier against wrong placements."""

import pytest
import torch
from captured import Fn
from hypothesis import given
from hypothesis import strategies as st
from nets import error, truth
from torch import nn

import pycnn
from pycnn.explain import Report
from pycnn.planning import planner
from pycnn.planning.check import PlacementError, check
from pycnn.planning.kept import KEPT_SHAPES
from pycnn.planning.memory import Block, Placement, align, place

lifetimes = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 20), st.integers(0, 20)), max_size=30
)


@given(lifetimes)
def test_placements_never_overlap(items: list[tuple[int, int, int]]) -> None:
    blocks = [Block(i, size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(items)]
    check(blocks, place(blocks))


@given(lifetimes)
def test_an_arena_is_no_smaller_than_what_is_alive_and_no_larger_than_all(
    items: list[tuple[int, int, int]],
) -> None:
    blocks = [Block(i, size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(items)]
    alive = [sum(align(b.size) for b in blocks if b.first <= t <= b.last) for t in range(21)]
    assert max(alive) <= place(blocks).total <= sum(align(b.size) for b in blocks)


def test_the_largest_first_is_not_always_best() -> None:
    """DenseNet-121: the join lives on below two large blocks that follow one another."""
    blocks = [Block(0, 4096, 0, 1), Block(1, 3072, 1, 9), Block(2, 3584, 2, 3)]
    assert place(blocks).total == 4096 + 3072


def test_a_chain_needs_two_blocks() -> None:
    blocks = [Block(i, 1024, i, i + 1) for i in range(10)]
    assert place(blocks).total == 2048


def test_a_gap_is_reused() -> None:
    blocks = [Block(0, 4096, 0, 1), Block(1, 64, 0, 9), Block(2, 4096, 2, 3)]
    assert place(blocks).total == 4096 + 64


def test_plans_of_a_net_with_many_segments_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """More segments than shapes are kept: each call must find the plans of the call before."""

    def forward(self: Fn, x: torch.Tensor) -> torch.Tensor:
        for _ in range(KEPT_SHAPES + 1):
            x = torch.relu(x).roll(1, -1)  # a kernel's step and torch's, by turns
        return x

    made: list[object] = []
    real = planner.lower
    monkeypatch.setattr(planner, "lower", lambda *args: made.append(args) or real(*args))
    fast, x = pycnn.optimize(Fn(forward).eval()), torch.randn(1, 2, 3, 4)
    with torch.inference_mode():
        expected = fast(x)
        assert len(made) == KEPT_SHAPES + 1
        assert torch.equal(fast(x), expected)
    assert len(made) == KEPT_SHAPES + 1


@pytest.mark.parametrize("lends", ["kernels", "torch"])
def test_layers_of_which_only_the_size_is_read_do_not_run(lends: str) -> None:
    def forward(self: Fn, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x))
        size = (y if lends == "kernels" else y.roll(1, -1)).shape[2:]
        return self.last(nn.functional.interpolate(x, size))

    layers = {
        "first": nn.Conv2d(3, 60, 1),
        "second": nn.Conv2d(60, 8, 3, 2),
        "last": nn.Conv2d(3, 4, 1),
    }
    net = Fn(forward, **layers).eval()
    fast = pycnn.optimize(net)
    for x in (torch.randn(1, 3, 15, 24), torch.randn(2, 3, 9, 9)):
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) <= 1e-5
            with pytest.raises(pycnn.MemoryLimitError, match="memory_limit=1 bytes is too small"):
                pycnn.optimize(net, memory_limit=1)(x)
        assert [step.path for step in pycnn.explain(fast, x).steps if step.op == "conv2d"] == [
            "last"
        ]
        assert pycnn.verify(fast, net, x).ok and pycnn.profile(fast, x, seconds=0.01).layers


def test_verifier_names_blocks_that_share_bytes() -> None:
    blocks = [Block(0, 100, 0, 2), Block(1, 100, 2, 3)]
    with pytest.raises(PlacementError, match="blocks 0 and 1 share bytes at step 2"):
        check(blocks, Placement({0: 0, 1: 64}, 192))
    with pytest.raises(PlacementError, match="block 1"):
        check(blocks, Placement({0: 0, 1: 128}, 192))


class DenseBlock(nn.Module):
    """A dense block: each layer reads the join of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [torch.relu(x)]
        for layer in self.layers:
            found.append(torch.relu(layer(torch.cat(found, 1))))
        return torch.cat(found, 1).tanh()


def test_joins_of_a_dense_block_are_slices_of_the_last() -> None:
    net, x = DenseBlock().eval(), torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last)
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 1e-5
        kernels = [step.kernel for step in pycnn.explain(fast, x).steps]
    assert not any("concat" in kernel for kernel in kernels)


def test_a_join_is_not_alive_below_a_long_skip_where_that_saves_much() -> None:
    def forward(self: Fn, x: torch.Tensor) -> torch.Tensor:
        skip = y = torch.relu(self.stem(x))
        for layer in self.body:
            y = layer(torch.nn.functional.max_pool2d(y, 2) if layer is self.body[0] else y)
        return self.head(torch.cat([skip, self.up(y)], 1))

    def report(convs: int) -> Report:
        widths = [2, *[128] * convs]
        body = [nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:], strict=False)]
        layers = {"stem": nn.Conv2d(3, 2, 3, padding=1), "body": nn.ModuleList(body)}
        layers |= {"up": nn.ConvTranspose2d(128, 30, 2, 2), "head": nn.Conv2d(32, 2, 1)}
        net = Fn(forward, **layers).eval()
        with torch.inference_mode():
            assert error(pycnn.optimize(net)(x), truth(net, x)) <= 1e-5
            return pycnn.explain(pycnn.optimize(net), x)

    x, maps = torch.randn(1, 3, 64, 64), 64 * 64 * 4
    # The join has 32 channels, two maps of the body 64: alive together, or the skip's 2 channels and one after another.
    found = [(r.peak_bytes, [s.op for s in r.steps].count("concat")) for r in map(report, (3, 8))]
    assert found == [((32 + 64) * maps, 0), ((2 + 64) * maps, 1)]


def test_a_join_in_another_order_is_copied() -> None:
    def forward(self: Fn, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.relu(x), torch.tanh(x)
        return torch.sigmoid(torch.cat([b, a], 1)) + torch.sigmoid(torch.cat([a, b], 1))

    net, x = Fn(forward).eval(), torch.randn(2, 8, 5, 6)
    with torch.inference_mode():
        assert error(pycnn.optimize(net)(x), truth(net, x)) <= 1e-5
