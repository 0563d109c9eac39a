"""What the caller of `optimize` asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from pycnn.frontend import SavedNetwork

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Options:
    """The arguments of `optimize`."""

    strict: bool = False
    threads: int | None = None
    exact: bool = False
    batch_invariant: bool = False
    tune: bool = False
    dtype: torch.dtype | None = None
    memory_limit: int | None = None
    promoted: frozenset[str] = frozenset()  # paths of modules whose layers are computed in fp32

    def cast(self, value: Any) -> Any:
        """A floating-point tensor in the dtype asked for; anything else as it is."""
        if self.dtype is None or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.to(self.dtype)

    def cast_all(self, values: Any) -> Any:
        """`cast` of every tensor in nested tuples, lists and dicts."""
        return values if self.dtype is None else pytree.tree_map(self.cast, values)

    def check(self, model: nn.Module) -> None:
        """TypeError or ValueError, with the value, where an option is none for `model`."""
        threads = self.threads
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"optimize: threads={threads!r} must be a positive integer")
        for name in ("exact", "strict", "batch_invariant", "tune"):
            if not isinstance(flag := getattr(self, name), bool):
                raise TypeError(f"optimize: {name} must be a bool, got {flag!r}")
        if self.tune and self.batch_invariant:
            raise ValueError(
                "optimize: tune=True chooses kernels by batch and threads, which batch_invariant=True forbids"
            )
        if self.dtype is not None:
            self._check_dtype(model, self.dtype)
        if self.memory_limit is not None:
            self._check_limit(self.memory_limit)

    def _check_limit(self, limit: Any) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise TypeError(
                f"optimize: memory_limit must be a number of bytes, an int, got {limit!r}"
            )
        if limit < 1:
            raise ValueError(f"optimize: memory_limit={limit} must be a positive number of bytes")
        if self.tune:
            raise ValueError("optimize: tune=True runs every kernel, whatever memory_limit allows")

    def _check_dtype(self, model: nn.Module, dtype: Any) -> None:
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"optimize: dtype must be a torch.dtype, got {dtype!r}")
        if dtype not in _DTYPES:
            raise ValueError(f"optimize: dtype={dtype} is none of {', '.join(map(str, _DTYPES))}")
        held = [p.dtype for p in model.parameters() if p.is_floating_point()]
        other = next((d for d in held if d != dtype), None)
        if isinstance(model, SavedNetwork) and other is not None:
            raise ValueError(
                f"optimize: the network was saved in {other}; its graphs do not hold in {dtype}"
            )
