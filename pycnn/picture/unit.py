"""What is drawn: units (a layer or step each) and blocks (a unit with the norms and activations behind it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """One layer or step.

    Attributes:
        path: of its module.
        kind, detail: the title, as in "Conv2d" and "3×3, stride 2".
        shape: of its result.
        figures: a line below the shape.
        inputs: numbers of the units it reads; -1 - i is input i of the network.
        stage: the column it stands in.
        weighted: a convolution or matrix product, drawn in colour.
        color: a key of `style.COLORS`; "" derives it from kind.
        lines: more lines, below the title.
    """

    path: str
    kind: str
    detail: str
    shape: Shape
    figures: str
    inputs: tuple[int, ...]
    stage: str
    weighted: bool = False
    color: str = ""
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.kind} {self.detail}".strip()


@dataclass
class Block:
    """A box of the picture: `units` holds numbers of units, the first of which names it."""

    units: list[int]
    head: Unit
    followers: list[str] = field(default_factory=list)
    shape: Shape = ()
    inputs: list[int] = field(default_factory=list)  # blocks; -1 - i is input i
    joined: int = 0  # how many maps it reads, where that is told instead of drawn


_DRAWN = 4  # lines into one block; DenseNet's layers join up to 49 maps
FOLLOWERS = (
    "norm", "relu", "gelu", "silu", "swish", "sigmoid", "tanh", "mish", "elu", "dropout", "stochastic",
    "flatten",
)  # fmt: skip


def follows(unit: Unit) -> bool:
    """Whether it is drawn in the block of the layer before it."""
    kind = unit.kind.lower()
    return not unit.weighted and len(unit.inputs) == 1 and any(word in kind for word in FOLLOWERS)


def blocks(units: Sequence[Unit]) -> list[Block]:
    """Units joined to blocks where one alone reads another and merely follows it."""
    readers: dict[int, int] = {}
    for unit in units:
        for at in unit.inputs:
            readers[at] = readers.get(at, 0) + 1
    made: list[Block] = []
    home: dict[int, int] = {}
    for number, unit in enumerate(units):
        source = unit.inputs[0] if unit.inputs else -1
        joins = follows(unit) and source >= 0 and readers[source] == 1
        if joins and units[source].stage == unit.stage:
            block = made[home[source]]
            block.units.append(number)
            block.followers.append(unit.kind)
            block.shape = unit.shape
            home[number] = home[source]
            continue
        inputs = dict.fromkeys(home[at] if at >= 0 else at for at in unit.inputs)
        home[number] = len(made)
        many = len(inputs) > _DRAWN
        drawn = [max(inputs)] if many else list(inputs)
        made.append(Block([number], unit, [], unit.shape, drawn, len(inputs) if many else 0))
    return made
