"""Denoise a photograph.

    python examples/denoise.py [IMAGE] [--noise 25] [--steps 300] [--out denoised.png]

Needs `pip install 'pycnn[demo]'`; nothing is downloaded. A small DnCNN learns from pieces of one of scikit-learn's two
photographs, in about a minute on two cores, and cleans the other one (or yours), to which noise is added.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

import pycnn

PATCH = 40  # pixels, as in the paper


def grey(image: Image.Image) -> Tensor:
    """[1, 1, h, w] in [0, 1]."""
    return torch.from_numpy(np.array(image.convert("L"))).float()[None, None] / 255


def patches(photo: Tensor, n: int) -> Tensor:
    """n pieces [n, 1, PATCH, PATCH] from random places, some of them mirrored."""
    _, _, h, w = photo.shape
    found = []
    for _ in range(n):
        y, x = int(torch.randint(h - PATCH, ())), int(torch.randint(w - PATCH, ()))
        piece = photo[0, :, y : y + PATCH, x : x + PATCH]
        found.append(piece.flip(2) if torch.rand(()) < 0.5 else piece)
    return torch.stack(found)


def psnr(x: Tensor, clean: Tensor) -> float:
    """Peak signal to noise ratio in dB of images whose white is 1."""
    return -10 * math.log10(float(F.mse_loss(x, clean)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", nargs="?", type=Path, help="default: scikit-learn's flower.jpg")
    parser.add_argument("--noise", type=float, default=25, help="deviation, white being 255")
    parser.add_argument("--steps", type=int, default=300, help="of training, 16 patches each")
    parser.add_argument("--out", type=Path, default=Path("denoised.png"))
    args = parser.parse_args()
    torch.manual_seed(0)
    sigma = args.noise / 255
    photo = grey(Image.fromarray(load_sample_image("china.jpg")))
    net = pycnn.create_model("dncnn", depth=7, width=32)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        clean = patches(photo, 16)
        loss = F.mse_loss(net(clean + sigma * torch.randn_like(clean)), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {-10 * math.log10(loss.item()):.2f} dB")
    source = Image.open(args.image) if args.image else None
    clean = grey(source or Image.fromarray(load_sample_image("flower.jpg")))
    noisy = clean + sigma * torch.randn_like(clean)
    fast = pycnn.optimize(net.eval())
    with torch.inference_mode():
        result = fast(noisy)
    print(f"noisy {psnr(noisy, clean):.2f} dB, denoised {psnr(result, clean):.2f} dB")
    sides = torch.cat([noisy, result, clean], dim=3)[0, 0].clamp(0, 1)
    Image.fromarray((sides * 255).round().byte().numpy()).save(args.out)
    print(f"wrote {args.out}: noisy, denoised, original")


if __name__ == "__main__":
    main()
