"""Weights from a file or a state_dict into a network: all of them, or none and one sentence that says why."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "params",
    "net",
)
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel's, torch.compile's, Lightning's


def load_weights(
    net: nn.Module, source: str | os.PathLike[str] | Mapping[str, Any], where: str = "load_weights"
) -> None:
    """Copy a state_dict, or the one in a file, into `net`, after checking that every key fits.

    Args:
        net: the network. If it has a method `current_key(key)`, keys go through it: it gives the key's present
            name, or None for one to leave out.
        source: a state_dict, a .pth/.pt/.bin file (read with `weights_only=True`) or a .safetensors file. The tensors
            may lie under a key such as "state_dict" or "model" and their names may begin with "module.".
        where: first words of the error messages.

    Raises:
        ValueError: the file cannot be read, or keys are missing, unexpected or of another shape: all are named, and
            the network is as it was.
        TypeError: `source` is neither, or holds something else than tensors.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, Mapping):
        origin, found = "the state_dict", source
    elif isinstance(source, (str, os.PathLike)):
        origin, found = str(source), _read(Path(source), where)
    else:
        raise TypeError(
            f"{where}: pretrained must be a path or a state_dict, got {type(source).__name__}"
        )
    weights = _unwrap(found, net, f"{where}: {origin}")
    own = net.state_dict()
    rename = getattr(net, "current_key", None)
    if rename is not None:
        named = ((rename(key), value) for key, value in weights.items())
        weights = {key: value for key, value in named if key is not None}
    for key, tensor in own.items():  # files written before torch 0.4.1 have no such counters
        if key.endswith(".num_batches_tracked"):
            weights.setdefault(key, tensor)
    problems = _problems(own, weights)
    if problems:
        raise ValueError(f"{where}: {origin} does not fit: {'; '.join(problems)}")
    net.load_state_dict(weights)


def _read(path: Path, where: str) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{where}: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pth", ".pt", ".bin"):
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            kinds = ".pth, .pt, .bin or .safetensors"
            raise ValueError(f"{where}: {path} is no {kinds} file")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{where}: {path} cannot be read as tensors: {reason}") from None
    if not isinstance(found, Mapping):
        raise TypeError(f"{where}: {path} holds a {type(found).__name__}, not a state_dict")
    return found


def _unwrap(found: Mapping[str, Any], net: nn.Module, what: str) -> dict[str, Tensor]:
    for key in WRAPPERS:
        inner = found.get(key)
        if isinstance(inner, Mapping):
            found = inner
            break
    strangers = [key for key, value in found.items() if not isinstance(value, Tensor)]
    if strangers:
        kinds = ", ".join(f"{key!r} is a {type(found[key]).__name__}" for key in strangers)
        raise TypeError(f"{what} holds something else than tensors: {kinds}")
    weights: dict[str, Tensor] = dict(found)
    own = net.state_dict()
    for prefix in PREFIXES:
        if weights and all(key.startswith(prefix) for key in weights):
            bare = {key.removeprefix(prefix): value for key, value in weights.items()}
            if not any(key in own for key in weights):
                weights = bare
    return weights


def _problems(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    misshapen = [k for k, t in own.items() if k in weights and weights[k].shape != t.shape]
    problems = []
    if missing:
        problems.append(f"missing {', '.join(missing)}")
    if unexpected:
        problems.append(f"unexpected {', '.join(unexpected)}")
    problems += [
        f"{key} is {list(weights[key].shape)}, the network has {list(own[key].shape)}"
        for key in misshapen
    ]
    return problems
