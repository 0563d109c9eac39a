"""The most memory that torch's own run of a module has alive at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pycnn.blocks.fused import plain_torch


class _Alive(TorchDispatchMode):
    """Sums the storages of all results that are alive after each op; those of `known` are not counted."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._known = {t.untyped_storage()._cdata for t in known}
        self._seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._known:
                    self._seen[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._seen = {k: v for k, v in self._seen.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._seen.values()))
        return result


def eager_peak(net: nn.Module, x: Tensor) -> int:
    """Bytes, in inference mode, layer by layer; the input and the weights are not counted."""
    alive = _Alive([x, *net.parameters(), *net.buffers()])
    with plain_torch(), torch.inference_mode(), alive:
        net(x)
    return alive.peak
