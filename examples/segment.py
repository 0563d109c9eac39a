"""Segment an image: which pixels of a crowded scene belong to which handwritten digit.

    python examples/segment.py [--steps 300] [--out segmented.png]

Needs `pip install 'pycnn[demo]'`; nothing is downloaded. A small U-Net learns from scenes put together of
scikit-learn's digits on noise, and labels scenes of digits that it has not seen: in about a minute on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch
from torch import Tensor
from torch.nn import functional as F

import pycnn
from pycnn.demo.digits import load_digits

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIDE, DIGIT, CELLS = 64, 28, 2  # pixels of a scene and of a digit, places for digits each way
CLASSES = 11  # 0: background, d + 1: digit d
WEIGHTS = torch.tensor([0.1] + [1.0] * 10)  # most pixels are background
INK = 0.0  # a digit's pixels are those brighter than this, of -1 ... 1


def scenes(n: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """n scenes [n, 1, SIDE, SIDE] of three or four digits at random places, and their classes [n, SIDE, SIDE]."""
    x = torch.full((n, 1, SIDE, SIDE), -1.0)
    y = torch.zeros(n, SIDE, SIDE, dtype=torch.long)
    cell = SIDE // CELLS
    for i in range(n):
        for place in torch.randperm(CELLS**2)[: int(torch.randint(3, 5, ()))].tolist():
            chosen = int(torch.randint(len(images), ()))
            dy, dx = torch.randint(cell - DIGIT + 1, (2,)).tolist()
            rows = slice(place // CELLS * cell + dy, place // CELLS * cell + dy + DIGIT)
            columns = slice(place % CELLS * cell + dx, place % CELLS * cell + dx + DIGIT)
            x[i, 0, rows, columns] = images[chosen, 0]
            y[i, rows, columns] = (images[chosen, 0] > INK) * (labels[chosen] + 1)
    return x + 0.3 * torch.randn_like(x), y


def mean_iou(found: Tensor, truth: Tensor) -> float:
    """Shared over joined pixels, averaged over the digits."""
    shares = []
    for c in range(1, CLASSES):
        a, b = found == c, truth == c
        shares.append(float((a & b).sum() / (a | b).sum().clamp(min=1)))
    return sum(shares) / len(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="of training, 16 scenes each")
    parser.add_argument("--out", type=Path, default=Path("segmented.png"))
    args = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    net = pycnn.create_model("unet", num_classes=CLASSES, width=12, batch_norm=True, drop_rate=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        x, y = scenes(16, digits.train_x, digits.train_y)
        loss = F.cross_entropy(net(x), y, WEIGHTS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    fast = pycnn.optimize(net.eval())
    x, y = scenes(64, digits.test_x, digits.test_y)
    with torch.inference_mode():
        found = fast(x).argmax(1)
    print(f"mean overlap with the truth on new scenes: {mean_iou(found, y):.3f}")
    figure, axes = plt.subplots(3, 4, figsize=(8, 6), layout="constrained")
    for column in range(4):
        shown = (x[column, 0], found[column], y[column])
        for axis, image, name in zip(
            axes[:, column], shown, ("image", "found", "truth"), strict=True
        ):
            grey = name == "image"
            axis.imshow(image, cmap="gray" if grey else "tab20", vmax=1 if grey else CLASSES)
            axis.set_title(name)
            axis.axis("off")
    figure.savefig(args.out, dpi=100)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
