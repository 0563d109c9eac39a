"""Random networks: branches, joins, shared modules, odd sizes; what a person might write, put together by dice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Values = list[Tensor]
Step = Callable[
    ["RandomNet", Values], Tensor
]  # modules are found in the net it is given: a copy has its own
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
)
LARGEST = 64  # channels


@dataclass(frozen=True)
class Kind:
    """What is known of a map: channels, and how often it was halved (sizes of maps with one number are equal)."""

    c: int
    level: str


class RandomNet(nn.Module):
    """`steps` one after the other, each reading values made before; returns the last one and some others."""

    def __init__(self, dice: Random, c: int, length: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        self.kinds = [Kind(c, "x")]
        self.steps: list[Step] = []
        self.told: list[str] = []
        self._dice = dice
        for _ in range(length):
            self._add()
        others = [i for i in range(1, len(self.kinds) - 1) if dice.random() < 0.15]
        self.returned = [*others[:3], len(self.kinds) - 1]
        self.head = dice.choice(("maps", "pooled", "linear"))
        k = self.kinds[-1].c
        self.linear = nn.Linear(k, dice.randint(1, 20))
        del self._dice

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for step in self.steps:
            values.append(step(self, values))
        found = [values[i] for i in self.returned]
        if self.head == "pooled":
            found[-1] = found[-1].mean((2, 3))
        elif self.head == "linear":
            found[-1] = self.linear(torch.flatten(F.adaptive_avg_pool2d(found[-1], 1), 1))
        return tuple(found)

    @property
    def mixes_formats(self) -> bool:
        """Whether some maps are channels_last and others not, or both."""
        mixing = any(told.startswith(("last", "shuffle", "chunk", "[")) for told in self.told)
        return mixing or any(kind.c == 1 for kind in self.kinds)

    def extra_repr(self) -> str:
        return "; ".join(f"%{i + 1} = {told}" for i, told in enumerate(self.told))

    def _add(self) -> None:
        dice = self._dice
        at = len(self.kinds) - 1 if dice.random() < 0.7 else dice.randrange(len(self.kinds))
        makers = (
            self._conv, self._conv, self._conv, self._norm, self._act, self._act, self._pool, self._add_two,
            self._join, self._gate, self._cut, self._shuffle, self._resize, self._arith, self._again, self._last,
        )  # fmt: skip
        made = dice.choice(makers)(at)
        if made is not None:
            told, kind, step = made
            self.told.append(f"{told}(%{at})")
            self.kinds.append(kind)
            self.steps.append(step)

    def _module(self, at: int, module: nn.Module) -> Step:
        i = self._part(module)
        return lambda net, values: net.parts[i](values[at])

    def _part(self, module: nn.Module) -> int:
        self.parts.append(module)
        return len(self.parts) - 1

    def _conv(self, at: int) -> Any:
        dice, kind = self._dice, self.kinds[at]
        kernel = dice.choice((1, 1, 3, 3, 3, 5, (1, 5), (3, 1)))
        stride, dilation = (2, 1) if dice.random() < 0.15 else (1, dice.choice((1, 1, 2)))
        groups, k = 1, dice.randint(1, LARGEST)
        if dice.random() < 0.25:
            groups = kind.c
            k = kind.c * dice.choice((1, 1, 2)) if kind.c <= LARGEST // 2 else kind.c
        elif dice.random() < 0.2:
            groups = dice.choice([g for g in (2, 3, 4, 8) if kind.c % g == 0] or [1])
            k = groups * dice.randint(1, max(1, LARGEST // groups))
        size = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = tuple(dilation * (s - 1) // 2 for s in size)
        conv = nn.Conv2d(
            kind.c, k, size, stride, padding, dilation, groups, bias=dice.random() < 0.5
        )
        level = f"{kind.level}/2" if stride == 2 else kind.level
        return f"conv{size}s{stride}d{dilation}g{groups}", Kind(k, level), self._module(at, conv)

    def _norm(self, at: int) -> Any:
        dice, kind = self._dice, self.kinds[at]
        groups = dice.choice([g for g in (1, 2, 4) if kind.c % g == 0])
        norm = dice.choice((
            nn.BatchNorm2d(kind.c), nn.BatchNorm2d(kind.c), nn.BatchNorm2d(kind.c, affine=False, eps=0.1),
            nn.GroupNorm(groups, kind.c),
        ))  # fmt: skip
        return type(norm).__name__, kind, self._module(at, norm)

    def _act(self, at: int) -> Any:
        act = self._dice.choice(ACTIVATIONS)
        inplace = act in (nn.ReLU, nn.SiLU, nn.Hardswish) and at == len(self.kinds) - 1 and at > 0
        alone = inplace and "conv" in self.told[-1] and self._dice.random() < 0.3
        module = act(inplace=True) if alone else act()
        if alone:  # the written value is gone
            return f"{act.__name__}_", self.kinds[at], self._written(at, module)
        return act.__name__, self.kinds[at], self._module(at, module)

    def _written(self, at: int, module: nn.Module) -> Step:
        i = self._part(module)

        def step(net: RandomNet, values: Values) -> Tensor:
            values[at] = net.parts[i](values[at])
            return values[at]

        return step

    def _pool(self, at: int) -> Any:
        dice, kind = self._dice, self.kinds[at]
        if dice.random() < 0.5:
            pool: nn.Module = dice.choice((nn.MaxPool2d, nn.AvgPool2d))(3, 1, 1)
            return "pool3", kind, self._module(at, pool)
        pool = dice.choice(
            (
                nn.MaxPool2d(2),
                nn.AvgPool2d(2),
                nn.MaxPool2d(3, 2, 1),
                nn.AvgPool2d(2, ceil_mode=True),
            )
        )
        return (
            str(pool),
            Kind(kind.c, f"{kind.level}/{pool.kernel_size}{pool.ceil_mode:d}"),
            self._module(at, pool),
        )

    def _like(self, at: int, channels: bool) -> int | None:
        kind = self.kinds[at]
        found = [
            i
            for i, k in enumerate(self.kinds)
            if k.level == kind.level and (k.c == kind.c or not channels)
        ]
        return self._dice.choice(found) if found else None

    def _add_two(self, at: int) -> Any:
        other = self._like(at, channels=True)
        return f"add %{other}", self.kinds[at], lambda net, values: values[at] + values[other]

    def _join(self, at: int) -> Any:
        other = self._like(at, channels=False)
        third = self._like(at, channels=False)
        chosen = [at, other, third][: self._dice.randint(2, 3)]
        c = sum(self.kinds[i].c for i in chosen)
        if c > 2 * LARGEST:
            return None
        return (
            f"cat {chosen}",
            Kind(c, self.kinds[at].level),
            lambda net, values: torch.cat([values[i] for i in chosen], 1),
        )

    def _gate(self, at: int) -> Any:
        kind = self.kinds[at]
        squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(kind.c, kind.c, 1), nn.Sigmoid())
        i = self._part(squeeze)
        return "gate", kind, lambda net, values: values[at] * net.parts[i](values[at])

    def _cut(self, at: int) -> Any:
        dice, kind = self._dice, self.kinds[at]
        if kind.c % 2 == 0 and dice.random() < 0.4:
            half = dice.randrange(2)
            return (
                f"chunk {half}",
                Kind(kind.c // 2, kind.level),
                lambda net, values: values[at].chunk(2, 1)[half],
            )
        start = dice.randrange(kind.c)
        stop = dice.randint(start + 1, kind.c)
        return (
            f"[{start}:{stop}]",
            Kind(stop - start, kind.level),
            lambda net, values: values[at][:, start:stop],
        )

    def _shuffle(self, at: int) -> Any:
        kind = self.kinds[at]
        groups = [g for g in (2, 3, 4) if kind.c % g == 0]
        if not groups:
            return None
        g = self._dice.choice(groups)

        def step(net: RandomNet, values: Values) -> Tensor:
            n, c, h, w = values[at].shape
            return values[at].view(n, g, c // g, h, w).transpose(1, 2).reshape(n, c, h, w)

        return f"shuffle {g}", kind, step

    def _resize(self, at: int) -> Any:
        kind = self.kinds[at]
        smaller = [i for i, k in enumerate(self.kinds) if k.level != kind.level and k.c <= LARGEST]
        if not smaller:
            return None
        other = self._dice.choice(smaller)
        mode = self._dice.choice(("nearest", "bilinear"))

        def step(net: RandomNet, values: Values) -> Tensor:
            return F.interpolate(values[other], size=values[at].shape[2:], mode=mode)

        return f"resize %{other} {mode}", Kind(self.kinds[other].c, kind.level), step

    def _arith(self, at: int) -> Any:
        kind, number = self.kinds[at], self._dice.choice((0.5, -1.5, 2, 3.0))
        scale = nn.Parameter(torch.rand(kind.c, 1, 1) + 0.5)
        name = f"scale{len(self.steps)}"
        self.register_parameter(name, scale)
        which = self._dice.randrange(4)
        steps: tuple[Step, ...] = (
            lambda net, values: values[at] * number,
            lambda net, values: number - values[at],
            lambda net, values: values[at] * getattr(net, name),
            lambda net, values: values[at] / 2 + values[at],
        )
        return f"arith{which}", kind, steps[which]

    def _again(self, at: int) -> Any:
        """A module used a second time."""
        kind = self.kinds[at]
        fitting = [
            i for i, m in enumerate(self.parts)
            if isinstance(m, nn.Conv2d) and m.in_channels == kind.c and m.stride == (1, 1)
        ]  # fmt: skip
        if not fitting:
            return None
        i = self._dice.choice(fitting)
        return (
            "again",
            Kind(self.parts[i].out_channels, kind.level),
            lambda net, values: net.parts[i](values[at]),
        )

    def _last(self, at: int) -> Any:
        """Layers on [n, h, w, c] between two permutes."""
        kind = self.kinds[at]
        layers = nn.Sequential(nn.LayerNorm(kind.c), nn.Linear(kind.c, kind.c), nn.GELU())
        i = self._part(layers)
        if kind.c == 1:
            return None
        return (
            "last",
            kind,
            lambda net, values: net.parts[i](values[at].permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        )


def random_net(dice: Random) -> tuple[RandomNet, int]:
    """(a net in eval mode, its input's channels)."""
    torch.manual_seed(dice.randrange(2**31))
    c = dice.choice((1, 3, 4, 7, 16))
    net = RandomNet(dice, c, dice.randint(1, 14))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval(), c
