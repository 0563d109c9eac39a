"""Files that are whole programs, as `pycnn run` runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from pycnn.cli.files import EXPORTED, read_exported, read_saved
from pycnn.cli.target import TASKS, Target
from pycnn.ir import infer_shapes
from pycnn.optimize import optimize


def program_target(path: Path, task: str) -> Target:
    """The program in a file, of one image batch. Raises ValueError: it is none, or takes others.

    torch reads parts of a .pt2 file with pickle: only those of people one trusts.
    """
    if task not in TASKS:
        raise ValueError(f"--task {task}: one of {', '.join(TASKS)}")
    return _exported(path, task) if path.suffix == EXPORTED else _saved(path, task)


def _target(
    path: Path,
    task: str,
    shape: tuple[Any, ...],
    classes: int | None,
    load: Callable[[int | None], nn.Module],
) -> Target:
    n, c, h, w = shape
    if c not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, {path} takes {c}")
    fixed = isinstance(h, int) and isinstance(w, int)
    image, batch = (h, w) if fixed else None, n if isinstance(n, int) else None
    return Target(path.name, task, c, image, 1.0, classes, batch, True, load)


def _saved(path: Path, task: str) -> Target:
    """Pictures of the size it was saved at; in batches of any number where its graphs take them."""
    network = read_saved(path)
    (graph, sizes) = next((saved.graph, saved.sizes) for saved in network.graphs)
    if len(graph.inputs) != 1 or len(graph.input_shapes[0]) != 4:
        raise ValueError(
            f"{path} takes {len(graph.inputs)} inputs, run gives one batch of pictures [n, c, h, w]"
        )
    n, c, h, w = graph.input_shapes[0]
    made = graph.output_values()
    result = infer_shapes(graph, graph.input_shapes)[made[0]] if len(made) == 1 else ()
    classes = result[1] if len(result) > 1 else None
    shape: tuple[Any, ...] = (n, c, h, w) if sizes is not None else (None, c, h, w)
    if task != "classification" and sizes is None:
        shape = (None, c, None, None)
    return _target(path, task, shape, classes, lambda threads: optimize(network, threads=threads))


def _exported(path: Path, task: str) -> Target:
    """A program that torch.export.save wrote, of one image batch. Raises ValueError: it is none, or takes others.

    torch reads parts of such a file with pickle: only those of people one trusts.
    """
    program = read_exported(path)
    shape = _image_batch(program, path)
    return _target(
        path, task, shape, _classes(program), lambda threads: optimize(program, threads=threads)
    )


def _image_batch(program: ExportedProgram, path: Path) -> tuple[Any, ...]:
    """Sizes of its input; those it takes any number for are no ints."""
    names = program.graph_signature.user_inputs
    values = [
        n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in names
    ]
    images = [v for v in values if isinstance(v, torch.Tensor) and v.dim() == 4]
    if len(values) != 1 or len(images) != 1:
        raise ValueError(
            f"{path} takes {len(values)} inputs, run gives one batch of pictures [n, c, h, w]"
        )
    return tuple(images[0].shape)


def _classes(program: ExportedProgram) -> int | None:
    """Size of the second axis of its one result."""
    names = program.graph_signature.user_outputs
    values = [n.meta.get("val") for n in program.graph.nodes if n.name in names]
    if len(names) != 1 or not isinstance(values[0], torch.Tensor) or values[0].dim() < 2:
        return None
    classes = values[0].shape[1]
    return classes if isinstance(classes, int) else None
