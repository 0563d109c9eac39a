"""A twin of a module tree in eval mode that shares the tensors, so that the live modules are never touched."""

from __future__ import annotations

from typing import Any

from torch import nn


def shadow(model: nn.Module, clone_buffers: bool = False) -> tuple[nn.Module, dict[int, str]]:
    """The twin, and id -> path for the modules of both trees (code may hold a module outside of its tree)."""
    paths: dict[int, str] = {}
    made: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), path)
    twin = _twin(model, made, clone_buffers)
    paths.update({id(t): paths[original] for original, t in made.items() if original in paths})
    return twin, paths


def _twin(module: nn.Module, made: dict[int, nn.Module], clone_buffers: bool) -> nn.Module:
    if id(module) in made:
        return made[id(module)]
    twin: nn.Module = object.__new__(type(module))
    made[id(module)] = twin
    state: dict[str, Any] = {}
    for key, value in vars(module).items():
        state[key] = value.copy() if type(value) in (dict, list) or key in _TABLES else value
    twin.__dict__.update(state)
    twin.__dict__["training"] = False
    for key, child in module._modules.items():
        if child is not None:
            twin._modules[key] = _twin(child, made, clone_buffers)
    for key, held in vars(module).items():  # a plain list of submodules
        if type(held) is list and any(isinstance(x, nn.Module) for x in held):
            twin.__dict__[key] = [
                _twin(x, made, clone_buffers) if isinstance(x, nn.Module) else x for x in held
            ]
    if clone_buffers:
        for key, buffer in module._buffers.items():
            twin._buffers[key] = None if buffer is None else buffer.clone()
    return twin


_TABLES = frozenset(["_modules", "_parameters", "_buffers"])
