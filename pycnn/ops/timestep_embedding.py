"""Time steps of a diffusion process as sines and cosines."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

from pycnn.ops import _torch

STEP_TYPES = {torch.float32: 0, torch.int64: 1, torch.int32: 2}  # StepType in csrc


def frequencies(width: int, shift: float, device: torch.device | str = "cpu") -> Tensor:
    """[width / 2], fp32: 10000^(-i / (width / 2 - shift))."""
    half = width // 2
    exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=device)
    return torch.exp(exponents / (half - shift))


def reference(steps: Tensor, waves: Tensor, cosine_first: bool) -> Tensor:
    """The torch composition."""
    angles = steps[:, None].float() * waves[None]
    halves = [torch.sin(angles), torch.cos(angles)]
    return torch.cat(halves[::-1] if cosine_first else halves, dim=1)


def timestep_embedding(
    steps: Tensor, width: int, *, cosine_first: bool = False, shift: float = 0.0
) -> Tensor:
    """Sines and cosines of the time steps at geometrically falling frequencies: [n] -> [n, width], fp32.

    Column i of each half is sin or cos of t * 10000^(-i / (width/2 - shift)). "Denoising Diffusion Probabilistic
    Models", Ho, Jain, Abbeel 2020 (arXiv 2006.11239).

    Equivalent to: diffusers' ``get_timestep_embedding(steps, width, flip_sin_to_cos=cosine_first,
    downscale_freq_shift=shift)``

    Args:
        steps: time steps, of any real dtype. int64, int32 and fp32 on the CPU run our kernel where gradients are off:
            a network in training has torch's bits.
        width: even.
        cosine_first: which half comes first.
        shift: of the exponent's denominator, not width/2.

    Raises:
        TypeError: steps is not a tensor.
        ValueError: steps is not a vector; width is odd or not positive; shift is width/2.
    """
    _torch.check_tensor("timestep_embedding", "steps", steps, (1,))
    if width < 2 or width % 2:
        raise ValueError(f"timestep_embedding: width={width} must be even and positive")
    if shift == width // 2:
        raise ValueError(f"timestep_embedding: shift={shift} is half of width={width}")
    compiling = torch.compiler.is_compiling()
    if not compiling and torch._C._len_torch_function_stack():
        # One call to who watches: capture makes one op of it.
        options: dict[str, Any] = {"cosine_first": cosine_first, "shift": shift}
        y: Tensor = handle_torch_function(timestep_embedding, (steps,), steps, width, **options)
        return y
    waves = frequencies(width, shift, steps.device)
    integers = steps.device.type == "cpu" and steps.dtype in (torch.int64, torch.int32)
    seen = waves if integers and type(steps) is Tensor else steps
    if compiling or torch.is_grad_enabled() or _torch.falls_back("timestep_embedding", seen):
        return reference(steps, waves, cosine_first)
    y = torch.ops.pycnn.timestep_embedding.default(steps, waves, cosine_first)
    return y


def _fake(steps: Tensor, waves: Tensor, cosine_first: bool) -> Tensor:
    return waves.new_empty((steps.shape[0], 2 * waves.shape[0]))


_torch.register("timestep_embedding", _fake, reference, tensors=2)
