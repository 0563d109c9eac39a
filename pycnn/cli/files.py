"""Files that are whole programs: torch.export's, and those of `pycnn.save`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pycnn.frontend import SavedNetwork, module_of
from pycnn.saved import load

EXPORTED, SAVED = ".pt2", ".pycnn"
PROGRAMS = (EXPORTED, SAVED)


def read_exported(path: Path) -> ExportedProgram:
    """A program of torch.export. Raises FileNotFoundError; ValueError: it is none.

    torch reads parts of such a file with pickle: only those of people one trusts.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        program: ExportedProgram = torch.export.load(path)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is no program of torch.export: {reason}") from None
    return program


def read_saved(path: Path) -> SavedNetwork:
    """A network of `pycnn.save`. Raises FileNotFoundError; ValueError: it is none."""
    network = load(path)._model
    assert isinstance(network, SavedNetwork)
    return network


def of_file(path: Path, batch: int, size: int | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """The module and the arguments of a call. Raises ValueError: keywords are needed, which no option gives."""
    if path.suffix == EXPORTED:
        program = read_exported(path)
        args, kwargs = program.example_inputs or ((), {})
        module: nn.Module = module_of(program)
    else:
        network = module = read_saved(path)
        graph = network.graphs[0].graph
        shapes = zip(graph.inputs, graph.input_shapes, strict=True)
        args, kwargs = graph.input_tree.call([_random(s, graph.dtypes[v]) for v, s in shapes])
    if kwargs or not args:
        raise ValueError(f"{path} is called with keywords, which this command has no values for")
    if path.suffix == SAVED and network.graphs[0].sizes is None:
        args = tuple(_resized(a, batch, size) for a in args)
    return module, args


def _random(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def _resized(value: Any, batch: int, size: int | None) -> Any:
    """An image batch in another number and size."""
    if not isinstance(value, Tensor) or value.dim() != 4:
        return value
    _, c, h, w = value.shape
    image = (h, w) if size is None else (size, size)
    return _random((batch, c, *image), value.dtype)
