"""Real handwritten digits (scikit-learn's bundled 1797 images, no download) and the training of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.extras import ctrl_c_waits, load_extra

SHIFT = 2  # pixels; raises the accuracy on held-out digits from 0.970 to 0.985


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 28, 28] in [-1, 1], fp32; labels [n], int64."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load_digits() -> Digits:
    """The 8x8 images (0..16) enlarged to 28x28 and split 80 / 20, each class in proportion, always alike.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    data = load_extra("sklearn.datasets", "scikit-learn", "demo").load_digits()
    split = load_extra("sklearn.model_selection", "scikit-learn", "demo").train_test_split
    labels = torch.from_numpy(data.target).long()
    train, test = split(range(len(labels)), test_size=0.2, stratify=data.target, random_state=0)
    small = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    images = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
    return Digits(images[train], labels[train], images[test], labels[test])


def train(
    net: nn.Module,
    digits: Digits,
    *,
    epochs: int,
    batch: int = 32,
    lr: float = 3e-3,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train `net` in place with Adam, the rate falling to zero along a cosine; leaves it in eval mode.

    Each batch is shifted by up to `SHIFT` pixels. Order and shifts are always alike. `on_epoch` is given each epoch's
    mean loss.
    """
    with ctrl_c_waits():
        optimizer = torch.optim.Adam(net.parameters(), lr=lr)  # imports torch._dynamo
    steps_an_epoch = -(-len(digits.train_x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps_an_epoch)
    chance = torch.Generator().manual_seed(0)
    net.train()
    with _one_thread():
        for _ in range(epochs):
            total = 0.0
            shuffled = torch.randperm(len(digits.train_x), generator=chance)
            for chosen in torch.chunk(shuffled, steps_an_epoch):
                shift = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=chance).tolist()
                x = torch.roll(digits.train_x[chosen], shift, dims=(2, 3))
                loss = F.cross_entropy(net(x), digits.train_y[chosen])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(chosen)
            on_epoch(total / len(digits.train_x))
    net.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step on 32 small images is too short to share: equal on an idle machine, 15x faster on a busy one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
