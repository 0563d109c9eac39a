"""A classifier's stages as a multi-scale backbone, for detection, segmentation and whatever reads feature maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import fused


class FeatureExtractor(nn.Module):
    """The stages of a network, without its head: [n, c, h, w] -> a list of [n, channels[i], h/reductions[i], ...].

    The modules are the network's own, under their own paths: its state_dict is the network's without the head's keys.
    Sizes are rounded as the network's layers round them.

    Args:
        net: a network which runs the modules of `stages` one after the other. It is taken apart: do not use it again.
        stages: {reduction: paths of modules}, as in `registry.Family`.
        out_indices: stages whose maps are returned, from the end when negative; None: all.

    Raises:
        ValueError: out_indices is empty or names a stage there is not.

    Attributes:
        out_indices: the stages whose maps are returned, counted from 0.
        reductions: input height over map height, a power of two, for each map returned.
        channels: of each map returned.
    """

    def __init__(
        self,
        net: nn.Module,
        stages: Mapping[int, Sequence[str]],
        out_indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.out_indices = _indices(out_indices, len(stages))
        last = max(self.out_indices)
        self.stage_paths = [_paths(net, paths) for paths in list(stages.values())[: last + 1]]
        used = [path for stage in self.stage_paths for path in stage]
        _prune(net, used)
        for name, child in net.named_children():
            self.add_module(name, child)
        shapes = self._shapes(256)
        self.channels = [shape[1] for shape in shapes]
        self.reductions = [2 ** round(math.log2(256 / shape[2])) for shape in shapes]
        self.train(net.training)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, stage in enumerate(self.stage_paths):
            x = fused(x, *(self.get_submodule(path) for path in stage))
            if i in self.out_indices:
                maps.append(x)
        return maps

    def _shapes(self, size: int) -> list[torch.Size]:
        """Of the maps of two square images; on the meta device nothing is computed, and no buffer is touched."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        meta = {name: torch.empty_like(t, device="meta") for name, t in tensors.items()}
        first = next(m for m in self.modules() if isinstance(m, nn.Conv2d))
        x = torch.empty(2, first.in_channels, size, size, device="meta")
        with torch.no_grad():
            maps: list[Tensor] = torch.func.functional_call(self, meta, (x,))
        return [y.shape for y in maps]


def _indices(given: Sequence[int] | None, n: int) -> list[int]:
    if given is None:
        return list(range(n))
    if not given or any(not -n <= i < n for i in given):
        raise ValueError(f"out_indices={given!r}: the network has stages 0 to {n - 1}")
    return sorted({i % n for i in given})


def _paths(net: nn.Module, paths: Sequence[str]) -> list[str]:
    """`paths` with "features.3:7" written out as the children 3 ... 6 of features."""
    found = []
    for path in paths:
        parent, _, last = path.rpartition(".")
        if ":" not in last:
            found.append(path)
            continue
        start, stop = (int(end) if end else None for end in last.split(":"))
        names = [name for name, _ in net.get_submodule(parent).named_children()]
        found += [f"{parent}.{name}" if parent else name for name in names[start:stop]]
    return found


def _prune(net: nn.Module, used: Sequence[str], prefix: str = "") -> None:
    """Take out every module that is none of `used`, nor inside one, nor holds one."""
    for name, child in list(net.named_children()):
        path = prefix + name
        if path in used:
            continue
        if any(u.startswith(path + ".") for u in used):
            _prune(child, used, path + ".")
        else:
            delattr(net, name)
