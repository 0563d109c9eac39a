"""What `summary` hands back: rows, totals, table, JSON, picture."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from pycnn.files import write_text
from pycnn.picture import Unit, draw
from pycnn.summary.stages import MAP_HEAD_ROLE, ROLES

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        path: of the module; of the calling module where code calls a function (`kind` is then the function's name).
        kind: class of the module, or the function.
        window: of a convolution or pooling: "3×3, stride 2"; else "".
        inputs: numbers of the rows it reads, -1 - i for input i of the network.
        output: shape of the (first) result.
        stage: "stem", "stage 1" ... "stage 4", "decoder" or "head".
        parameters: elements of the parameters first used here.
        macs: multiply-adds of convolutions and matrix products; biases, norms and activations are not counted.
        receptive_field: (h, w) in pixels of the image, of an image large enough, by which pixels are multiplied (group
            norm's statistics aside); None: all of it; () for what does not depend on a map.
        output_bytes: of the result; 0 where it shares its operand's memory.
    """

    path: str
    kind: str
    window: str
    inputs: tuple[int, ...]
    output: Shape
    stage: str
    parameters: int
    macs: int
    receptive_field: Shape | None
    output_bytes: int


@dataclass(frozen=True)
class Stage:
    """A row of layers at one resolution: its role, the shape it hands on, and its sums."""

    name: str
    role: str
    output: Shape
    layers: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """What `summary` found; `print` shows a table.

    Attributes:
        model: class of the module.
        inputs: shapes of its tensor inputs.
        rows, stages: in the order in which they run.
        parameters: elements of all of the model's parameters; `unused` are the names of those that did not run.
        macs: multiply-adds of the whole run.
        parameter_bytes, input_bytes, activation_bytes: the last is the sum over the rows.
        peak_bytes: most bytes of inputs and results alive at once if each is freed after its last use.
        notes: what a reader should know about how this was found.
    """

    model: str
    inputs: tuple[Shape, ...]
    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    parameters: int
    unused: tuple[str, ...]
    macs: int
    parameter_bytes: int
    input_bytes: int
    activation_bytes: int
    peak_bytes: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The fields as a JSON object; a receptive field of the whole image is null."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def svg(self) -> str:
        """A picture of the network: blocks with shapes, branches, residual arrows, a column a stage."""
        title = f"{self.model}: {count(self.parameters)} parameters, {count(self.macs)} MACs"
        shapes = tuple(map(size, self.inputs))
        return draw([_unit(i, row) for i, row in enumerate(self.rows)], title, shapes, ROLES)

    def to_svg(self, path: str | os.PathLike[str]) -> None:
        """Save `svg()`; the file is whole or as it was. OSError if it cannot be written."""
        write_text(path, self.svg())

    def table(self) -> Table:
        """One row a layer, then the stages' and the network's sums, as a rich table."""
        inputs = ", ".join(map(size, self.inputs))
        table = Table(title=f"{self.model}, input {inputs}", caption=self._totals())
        for name in ("layer", "kind", "window", "output"):
            table.add_column(name, overflow="fold")
        for name in ("parameters", "MACs", "field px", "output B"):
            table.add_column(name, justify="right", no_wrap=True)
        last = ""
        for row in self.rows:
            if row.stage != last:
                stage = next(s for s in self.stages if s.name == row.stage)
                if last:
                    table.add_section()
                head = f"[bold]{stage.name}[/]"
                sums = (count(stage.parameters), count(stage.macs))
                table.add_row(
                    head, f"[bold]{stage.role}[/]", "", "", *(f"[bold]{s}[/]" for s in sums)
                )
                last = row.stage
            table.add_row(*_cells(row))
        return table

    def _totals(self) -> str:
        unused = sum(1 for _ in self.unused)
        aside = f" ({unused} tensors of them do not run)" if unused else ""
        return (
            f"{self.parameters:,} parameters{aside} in {size_bytes(self.parameter_bytes)}, "
            f"{self.macs:,} MACs; results {size_bytes(self.activation_bytes)} in all, at most "
            f"{size_bytes(self.peak_bytes)} at once"
        )

    def __str__(self) -> str:
        console = Console(width=150)
        with console.capture() as captured:
            console.print(self.table())
            for note in self.notes:
                console.print(note, markup=False, highlight=False)
        return captured.get()


def roles_of(is_map: bool) -> dict[str, str]:
    """Stage -> role; of a network whose result is a map, the head's is another."""
    return {**ROLES, "head": MAP_HEAD_ROLE} if is_map else ROLES


def _cells(row: Row) -> list[str]:
    field = "image" if row.receptive_field is None else size(row.receptive_field)
    return [
        row.path or "(model)", row.kind, row.window, size(row.output),
        f"{row.parameters:,}" if row.parameters else "", count(row.macs) if row.macs else "",
        field, size_bytes(row.output_bytes) if row.output_bytes else "",
    ]  # fmt: skip


def _unit(index: int, row: Row) -> Unit:
    figures = [f"{count(row.parameters)} params"] if row.parameters else []
    figures += [f"{count(row.macs)} MACs"] if row.macs else []
    return Unit(
        path=row.path,
        kind=row.kind,
        detail=row.window,
        shape=row.output,
        figures=", ".join(figures),
        inputs=row.inputs,
        stage=row.stage,
        weighted=bool(row.macs),
    )


def size(shape: Shape) -> str:
    """1×64×56×56"""
    return "×".join(map(str, shape))


def count(number: float) -> str:
    """A number with three digits and a metric prefix: 25.6 M."""
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return (
                f"{number / limit:.3g}{unit}"
                if number / limit < 1000
                else f"{number / limit:.0f}{unit}"
            )
    return f"{number:.0f}"


def size_bytes(number: float) -> str:
    """Bytes with a binary prefix: 3.06 MiB."""
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= limit:
            return (
                f"{number / limit:.3g} {unit}"
                if number / limit < 1000
                else f"{number / limit:.0f} {unit}"
            )
    return f"{number:.0f} B"
