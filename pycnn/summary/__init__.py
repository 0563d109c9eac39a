"""`summary`: what a network is made of, layer by layer, without running it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.optimize import OptimizedModule
from pycnn.summary.build import build
from pycnn.summary.record import record
from pycnn.summary.report import Row, Stage, Summary

__all__ = ["Row", "Stage", "Summary", "summary"]


def summary(model: nn.Module, *inputs: object, **kwargs: object) -> Summary:
    """Layers of ``model(*inputs, **kwargs)`` in eval mode: shapes, stages, parameters, MACs, receptive fields, memory.

    The model is not touched and nothing is computed: a twin of its module tree runs on tensors without memory. Only
    code that looks at values (``if x.sum() > 0``) runs on real tensors, and `notes` says so.

    MACs are multiply-adds of convolutions and matrix products; FLOPs are twice that. Receptive fields as in Araujo,
    Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks": two stacked 3x3 see 5x5, three 7x7.

    Args:
        model: any nn.Module, also what `optimize` returned.
        inputs: each a shape, such as (1, 3, 224, 224), or a list of shapes, or whatever the model takes: tensors for
            their shapes and dtypes, a timestep, ...
        kwargs: keyword arguments of the model, taken as they are.

    Returns:
        A `Summary`: print it; ``.rows``, ``.stages``, ``.to_json()``, ``.to_svg(path)``.

    Raises:
        TypeError: model is not an nn.Module. ValueError: no inputs, a size that is not positive, or the model does not
            run on these inputs.

    Example:
        >>> print(pycnn.summary(model, (1, 3, 224, 224)))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summary: model must be a torch.nn.Module, got {type(model).__name__}")
    if not inputs and not kwargs:
        raise ValueError("summary: no inputs; give a shape such as (1, 3, 224, 224) or tensors")
    if isinstance(model, OptimizedModule):
        model = model.__dict__["_model"]
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    args: list[object] = []
    for given in inputs:
        several = isinstance(given, list) and given and all(map(_is_shape, given))
        args += [_argument(x, like) for x in (given if several else [given])]  # type: ignore[attr-defined]
    return build(model, record(model, tuple(args), kwargs))


def stage_of(
    model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
) -> dict[str, str]:
    """Module path -> its stage in a call of the model, in order; empty where the model cannot be summed up."""
    try:
        rows = build(model, record(model, args, kwargs)).rows
    except ValueError:
        return {}
    stages: dict[str, str] = {}
    for row in rows:
        stages.setdefault(row.path, row.stage)
    return stages


def _is_shape(given: object) -> bool:
    kinds = isinstance(given, (tuple, list, torch.Size)) and len(given) > 0
    return kinds and all(isinstance(n, int) and not isinstance(n, bool) for n in given)  # type: ignore[attr-defined]


def _argument(given: object, like: Tensor) -> object:
    """A tensor for a shape, of the parameters' dtype; anything else as it is."""
    if not _is_shape(given):
        return given
    shape = [int(n) for n in given]  # type: ignore[attr-defined]
    if min(shape) < 1:
        raise ValueError(f"summary: the sizes of an input must be positive, got {shape}")
    return torch.empty(shape, dtype=like.dtype, device="meta")
