"""`optimize(batch_invariant=True)`: an image's bits depend on neither the rest of the batch nor the threads."""

from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import settle
from random_nets import random_net
from torch import nn

import pycnn


class Wide(nn.Module):
    """3x3 layers for which the batch decides the algorithm unless it is forbidden to."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 256, 3, padding=1)
        self.b = nn.Conv2d(256, 256, 3, padding=1)
        self.head = nn.Linear(256, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))


def chosen(fast: nn.Module, x: torch.Tensor) -> list[str]:
    return [step.kernel for step in pycnn.explain(fast, x).steps]


def test_bits_of_an_image_are_its_own() -> None:
    net = settle(Wide()).eval()
    images = torch.randn(9, 3, 6, 6)
    with torch.inference_mode():
        alone = pycnn.optimize(net, batch_invariant=True, threads=1)
        expected = torch.cat([alone(image[None]) for image in images])
        for threads in (1, 2):
            fast = pycnn.optimize(net, batch_invariant=True, threads=threads)
            for batch in (1, 2, 3, 9):
                got = torch.cat([fast(part) for part in images.split(batch)])
                assert torch.equal(got, expected)
            assert torch.equal(fast(images.flip(0)), expected.flip(0))


def test_without_it_the_batch_may_choose_another_kernel() -> None:
    net = Wide().eval()
    free = pycnn.optimize(net, threads=2)
    bound = pycnn.optimize(net, batch_invariant=True, threads=2)
    one, many = torch.randn(1, 3, 6, 6), torch.randn(9, 3, 6, 6)
    assert chosen(free, one) != chosen(free, many)
    assert chosen(bound, one) == chosen(bound, many)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(9, 30), st.integers(9, 30)),
    cuts=st.sets(st.integers(1, 6)),
    order=st.permutations(range(7)),
    threads=st.integers(1, 4),
)
def test_bits_of_an_image_in_any_network_and_any_batch(
    seed: int, size: tuple[int, int], cuts: set[int], order: list[int], threads: int
) -> None:
    """Seven images in any order, cut into batches anywhere, on any number of threads, against each one alone."""
    net, c = random_net(Random(seed))
    images = torch.randn(7, c, *size, generator=torch.Generator().manual_seed(seed))
    alone = pycnn.optimize(net, batch_invariant=True, threads=1)
    fast = pycnn.optimize(net, batch_invariant=True, threads=threads)
    bounds = [0, *sorted(cuts), 7]
    with torch.inference_mode():
        expected = [alone(images[i : i + 1]) for i in order]
        found = [fast(images[order[a:b]]) for a, b in zip(bounds, bounds[1:], strict=False)]
    for mine, own in zip(zip(*found, strict=True), zip(*expected, strict=True), strict=True):
        assert torch.equal(torch.cat(mine), torch.cat(own))
