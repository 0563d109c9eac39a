"""Stochastic depth: "Deep Networks with Stochastic Depth", Huang, Sun, Liu, Sedra, Weinberger 2016 (1603.09382)."""

from __future__ import annotations

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """In training, drops an image's residual branch with probability p and divides the kept ones by 1 - p.

    [n, ...] -> the same shape. The expectation is x; in eval mode the result is x itself.

    Args:
        p: probability of dropping, 0 <= p <= 1.

    Raises:
        ValueError: p is no probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"stochastic depth: p={p} is not in [0, 1]")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).bernoulli_(1 - self.p)
        return x * (kept.div_(1 - self.p) if self.p < 1 else kept)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
