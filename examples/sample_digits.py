"""Draw digits that nobody wrote: a small diffusion network trained on scikit-learn's 8x8 digits, then sampled.

    python examples/sample_digits.py [--steps 500] [--sampler ddim] [--out sampled.png]

Needs `pip install 'pycnn[demo]'`; nothing is downloaded; about a minute on two cores. DDPM: Ho et al. 2020
(arXiv 2006.11239). DDIM: Song, Meng, Ermon 2020 (arXiv 2010.02502), the same network in 50 steps in place of 1000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import pycnn

TIMES = 1000
BETAS = torch.linspace(1e-4, 0.02, TIMES)
KEPT = torch.cumprod(1 - BETAS, dim=0)  # share of the image's variance that is left at each time
Network = Callable[[Tensor, Tensor], Tensor]


def noised(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Images x at times t."""
    kept = KEPT[t].view(-1, 1, 1, 1)
    return kept.sqrt() * x + (1 - kept).sqrt() * noise


def learn(net: nn.Module, images: Tensor, steps: int) -> nn.Module:
    """Train `net` to tell the noise in an image; returns it with its weights averaged over the last steps."""
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x = images[torch.randint(len(images), (64,))]
        noise, t = torch.randn_like(x), torch.randint(TIMES, (64,))
        loss = F.mse_loss(net(noised(x, noise, t), t), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(net)
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    averaged: nn.Module = average.module
    return averaged.eval()


def clean(net: Network, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """(the image the network sees in x at time t, the noise in x that goes with it)."""
    noise = net(x, torch.tensor([t]))
    image = ((x - (1 - KEPT[t]).sqrt() * noise) / KEPT[t].sqrt()).clamp(-1, 1)
    return image, (x - KEPT[t].sqrt() * image) / (1 - KEPT[t]).sqrt()


def ddim(net: Network, x: Tensor, steps: int = 50) -> Tensor:
    """From noise x to images, without further chance."""
    times = torch.linspace(TIMES - 1, 0, steps).long().tolist()
    for t, following in zip(times, [*times[1:], None], strict=True):
        x, noise = clean(net, x, t)
        if following is not None:
            x = KEPT[following].sqrt() * x + (1 - KEPT[following]).sqrt() * noise
    return x


def ddpm(net: Network, x: Tensor) -> Tensor:
    """From noise x to images, by all the steps, each with new noise."""
    for t in reversed(range(TIMES)):
        image, _ = clean(net, x, t)
        before = KEPT[t - 1] if t else torch.tensor(1.0)
        x = before.sqrt() * BETAS[t] * image + (1 - BETAS[t]).sqrt() * (1 - before) * x
        x = x / (1 - KEPT[t])
        if t:
            x = x + ((1 - before) / (1 - KEPT[t]) * BETAS[t]).sqrt() * torch.randn_like(x)
    return x


def distance(x: Tensor, images: Tensor) -> float:
    """Mean distance of x to the nearest of `images`."""
    return float(torch.cdist(x.flatten(1), images.flatten(1)).min(dim=1).values.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500, help="of training, 64 digits each")
    parser.add_argument("--sampler", choices=["ddim", "ddpm"], default="ddim")
    parser.add_argument("--out", type=Path, default=Path("sampled.png"))
    args = parser.parse_args()
    torch.manual_seed(0)
    data = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    images, unseen = data[:1500], data[1500:]
    net = pycnn.create_model(
        "diffusion_unet", in_channels=1, channels=(32, 64), attention=(False, True),
        layers=1, groups=8, head_width=16,
    )  # fmt: skip
    fast = pycnn.optimize(learn(net, images, args.steps))
    noise = torch.randn(64, 1, 8, 8)
    with torch.inference_mode():
        x = ddim(fast, noise) if args.sampler == "ddim" else ddpm(fast, noise)
    print(
        f"distance to the nearest digit learnt: sampled {distance(x, images):.2f}, "
        f"written but unseen {distance(unseen, images):.2f}, noise {distance(noise, images):.2f}"
    )
    framed = F.pad(x, (1, 1, 1, 1), value=-1.0)
    grid = framed.view(4, 16, 10, 10).permute(0, 2, 1, 3).reshape(40, 160)
    pixels = ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    Image.fromarray(np.kron(pixels, np.ones((5, 5), np.uint8))).save(args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
