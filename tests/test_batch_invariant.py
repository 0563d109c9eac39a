"""`optimize(batch_invariant=True)`: an image's bits depend on neither the rest of the batch nor the threads."""

import torch
from nets import settle
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
