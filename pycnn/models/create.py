"""`create_model`: from a name to a network, with its weights, whole or as a backbone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from pycnn.models.features import FeatureExtractor
from pycnn.models.weights import load_weights
from pycnn.registry import Variant, find_model

OWN_OPTIONS = ("pretrained", "features_only", "out_indices")


def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    pretrained: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network of the zoo, in training mode.

    Args:
        name: a name from `list_models()`.
        num_classes: number of logits; None takes the variant's own (10, 21 or 1000).
        in_channels: channels of the input image; None takes the variant's own (3, or 1 for `lenet_like`).
        pretrained: weights of the whole network: a .pth/.pt/.safetensors file, or a state_dict; None initialises.
        features_only: return the stages without the head, as a multi-scale backbone.
        out_indices: which stages' maps the backbone returns, counted from 0, or from the end when negative; None: all.
        **options: other arguments of the variant's class.

    Returns:
        An ordinary `nn.Module`, fp32 on the CPU, from [n, in_channels, h, w] to [n, num_classes] (a classifier);
        with `features_only` a `FeatureExtractor`, to a list of maps [n, channels[i], h/reductions[i], w/reductions[i]].

    Raises:
        ValueError: an unknown name, a count which is not positive, weights that do not fit (every key is named, and
            nothing is loaded), a network without stages, a stage it does not have.
        TypeError: a count which is no int, or an option the class does not have.

    Example:
        >>> net = pycnn.create_model("resnet18", num_classes=10)
    """
    variant = find_model(name)
    where = f"create_model({name!r})"
    given = {"num_classes": num_classes, "in_channels": in_channels}
    arguments = {**variant.fixed, **_counts(variant, given), **options}
    known = variant.options
    unknown = [option for option in arguments if option not in known]
    if unknown:
        names = ", ".join([*known, *OWN_OPTIONS])
        raise TypeError(f"{where}: unknown option {', '.join(map(repr, unknown))}; it has {names}")
    if out_indices is not None and not features_only:
        raise ValueError(f"{where}: out_indices={out_indices!r} needs features_only=True")
    net = variant.factory(**arguments)
    if pretrained is not None:
        load_weights(net, pretrained, where)
    if not features_only:
        return net
    return _backbone(net, variant, out_indices)


def _counts(variant: Variant, given: Mapping[str, int | None]) -> dict[str, int]:
    """`num_classes` and `in_channels`, checked; the family's own where None is given."""
    where = f"create_model({variant.name!r})"
    counts = {}
    for argument, count in given.items():
        value = getattr(variant.family, argument) if count is None else count
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{where}: {argument} must be an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{where}: {argument} must be positive, got {value}")
        counts[argument] = value
    return counts


def _backbone(
    net: nn.Module, variant: Variant, out_indices: Sequence[int] | None
) -> FeatureExtractor:
    if variant.family.stages is None:
        raise ValueError(
            f"create_model({variant.name!r}): features_only needs a network that is a row of stages"
        )
    return FeatureExtractor(net, variant.family.stages, out_indices)
