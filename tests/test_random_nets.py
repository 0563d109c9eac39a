"""Networks put together by dice run as torch runs them; `make fuzz N=10000 SEED=7` tries as many from that seed on, or
what `FUZZ_SECONDS` allow."""

from __future__ import annotations

import os
import re
import time
from random import Random

import pytest
import torch
from nets import truth
from random_nets import random_net
from torch import Tensor

import pycnn


def check(seed: int) -> None:
    dice = Random(seed)
    net, c = random_net(dice)
    fast = pycnn.optimize(net, exact=dice.random() < 0.3, batch_invariant=dice.random() < 0.3)
    for _ in range(2):
        h, w = dice.randint(9, 33), dice.randint(9, 33)
        x = torch.randn(dice.randint(1, 3), c, h, w)
        if dice.random() < 0.5:
            x = x.contiguous(memory_format=torch.channels_last)
        kept = x.clone()
        with torch.inference_mode():
            try:
                plain = net(x)
            except RuntimeError as error:  # a map too small for a pool
                with pytest.raises(RuntimeError, match=re.escape(str(error))):
                    fast(x)
                continue
            mine, reference = fast(x), truth(net, x)
        assert torch.equal(x, kept), f"seed {seed}: the input was written"
        for y, own, ref in zip(mine, plain, reference, strict=True):
            compare(
                seed,
                y,
                own,
                ref,
                formats=not net.mixes_formats,
            )


def compare(seed: int, y: Tensor, own: Tensor, ref: Tensor, formats: bool) -> None:
    """`formats`: of memory too. Where a network mixes them, which operand decides for torch is lost in fusion; maps of
    one channel are in both at once."""
    assert y.shape == own.shape and y.dtype == own.dtype, f"seed {seed}"
    asked = (torch.contiguous_format, torch.channels_last)
    mine, theirs = (
        [t.dim() == 4 and t.is_contiguous(memory_format=f) for f in asked] for t in (y, own)
    )
    assert not formats or mine == theirs or not any(theirs), (
        f"seed {seed}: {y.stride()}, torch's {own.stride()}"
    )
    scale = max(
        float(ref.abs().max()), 0.1
    )  # the mean of a normed map is 0, and what is left of it no measure
    found, least = (float((t.double() - ref).abs().max()) / scale for t in (y, own))
    assert found <= max(1e-4, 20 * least), f"seed {seed}: error {found:.2e}, torch's {least:.2e}"


@pytest.mark.parametrize("block", range(6))
def test_random_networks_are_torchs(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_more_random_networks(block: int) -> None:
    count = int(os.environ.get("FUZZ_N", "10000")) // 8
    first = int(os.environ.get("FUZZ_SEED", "1000"))
    until = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "inf")) / 8
    done = 0
    for seed in range(first + block * count, first + (block + 1) * count):
        if time.monotonic() > until:
            break
        check(seed)
        done += 1
    print(f"seeds {first + block * count} to {first + block * count + done - 1}")
    assert done > 0
