"""Networks as files: weights and graphs in one safetensors file, read without the model's code and without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pycnn.compiled import Compiled, renewed, settle
from pycnn.files import whole_file
from pycnn.frontend import SavedGraph, SavedNetwork, table_of
from pycnn.inspection import graphs_of
from pycnn.ir import CodecError, Source, StoredWeights, decode, encode, from_json, to_json
from pycnn.optimize import OptimizedModule, optimize

FORMAT = "pycnn network 1"
_CONSTANTS = "pycnn_constants"  # tensors that the model holds under no name
# Packed weights, one behind the other, as int64, which safetensors puts in front.
_PACKED = "pycnn_packed"
_ALIGN = 64  # bytes: what kernels take packed weights to be on a multiple of


def save(fast: nn.Module, path: str | os.PathLike[str], *, packed: bool = False) -> None:
    """Write an optimised network to one file: its weights by their names, and the graphs of what it was called with.

    A safetensors file, which other tools read for the weights; the graphs are JSON in its header. `pycnn.load` needs
    neither the model's class nor pickle. The file is whole or as it was.

    Args:
        fast: from `optimize`, in eval mode, called before (or `fast.warmup(...)`), so that its graphs are known.
        path: of the file; ".pycnn" is usual.
        packed: also write the weights as the CPU kernels of the calls so far read them: up to four times as much again.
            What `load` gives then reads them where they lie in the file, instead of folding and packing at its first
            call, wherever the same build of pycnn chooses the same kernels; the rest is packed as without them.

    Raises:
        TypeError: fast is not an optimised module, or packed no bool.
        ValueError: it was never called or runs as torch, or something in it has no spelling in a file: a function that
            is not torch's own, a result of a class of its own; says which.
        OSError: the file cannot be written.
    """
    if not isinstance(fast, OptimizedModule):
        raise TypeError(f"save: expected what optimize() returned, got {type(fast).__name__}")
    if not isinstance(packed, bool):
        raise TypeError(f"save: packed must be a bool, got {packed!r}")
    graphs = graphs_of(fast)
    if not graphs:
        raise ValueError(
            "save: the module has no graph yet: call it once in eval mode, or fast.warmup((1, 3, 224, 224))"
        )
    try:
        tensors, held, same = _tensors(fast, graphs)
        described = {
            "graphs": [_described(graph, i) for i, graph in enumerate(graphs)],
            "held": held,
            "same": same,
            "dtype": encode(fast._options.dtype),
        }
        if packed:
            tensors[_PACKED], described["packed"] = _packed(graphs)
    except CodecError as error:
        raise ValueError(f"save: {error}") from error
    header = {"format": FORMAT, "network": json.dumps(described, allow_nan=False)}
    with whole_file(path) as file:
        for part in _aligned(safetensors.torch.save(tensors, metadata=header)):
            file.write(part)


def _described(compiled: Compiled, number: int) -> dict[str, Any]:
    sizes = None if settle(compiled) else [encode(s) for s in compiled.sizes]
    names = [_name(source, compiled, number) for source in compiled.raw.tensors]
    return {**to_json(compiled.raw), "sizes": sizes, "tensors": names}


def _packed(graphs: tuple[Compiled, ...]) -> tuple[Tensor, dict[str, list[int]]]:
    """Packed weights of the present tensors in one, and by digest where each begins in it and its size, in bytes."""
    found: dict[str, Tensor] = {}
    for i, graph in enumerate(graphs):
        current = renewed(graph)
        if current is not None and current.device.type == "cpu":
            found |= current.program.weights.to_store(partial(_name, compiled=graph, number=i))
    sizes = [-(-t.nbytes // _ALIGN) * _ALIGN for t in found.values()]
    starts = [0, *accumulate(sizes)]
    memory = torch.zeros(starts[-1], dtype=torch.uint8)
    for start, t in zip(starts, found.values(), strict=False):
        memory[start : start + t.nbytes] = t.view(torch.uint8)
    places = zip(found.items(), starts, strict=False)
    return memory.view(torch.int64), {key: [start, t.nbytes] for (key, t), start in places}


def _aligned(data: bytes) -> Iterator[bytes | memoryview]:
    """The file, with spaces behind its header that put packed weights on a multiple of _ALIGN: at least so many, which
    another writer leaves away, who may have changed the weights (`_is_ours`)."""
    size = int.from_bytes(data[:8], "little")
    held = json.loads(data[8 : 8 + size]).get(_PACKED)
    spaces = 0 if held is None else _ALIGN + -(8 + size + held["data_offsets"][0]) % _ALIGN
    yield (size + spaces).to_bytes(8, "little")
    yield data[8 : 8 + size] + b" " * spaces
    yield memoryview(data)[8 + size :]


def _is_ours(path: Path) -> bool:
    """Whether the file is as `save` wrote packed weights."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        file.seek(8 + size - _ALIGN)
        return file.read(_ALIGN) == b" " * _ALIGN


def _name(source: Source, compiled: Compiled, number: int) -> str:
    """The tensor's name in the model, or one among all graphs' constants."""
    constant = compiled.raw.tensors.is_constant(source)
    return f"{_CONSTANTS}.{number}_{source.index}" if constant else source.name


def _tensors(
    fast: OptimizedModule, graphs: tuple[Compiled, ...]
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Tensors by name; what each is; names that are another's tensor."""
    tensors: dict[str, Tensor] = {}
    held: dict[str, str] = {}
    same: dict[str, str] = {}
    first: dict[int, tuple[str, Tensor]] = {}
    for name, tensor, kind in _held(fast._model, graphs):
        if name in held:
            continue
        held[name] = kind
        if id(tensor) in first:
            same[name] = first[id(tensor)][0]
            continue
        first[id(tensor)] = name, tensor
        written = tensor if kind == "constant" else fast._options.cast(tensor)
        tensors[name] = written.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, held, same


def _held(model: nn.Module, graphs: tuple[Compiled, ...]) -> Iterator[tuple[str, Tensor, str]]:
    kept = set(model.state_dict(keep_vars=True))
    for name, tensor in model.named_parameters(remove_duplicate=False):
        yield name, tensor, "parameter"
    for name, buffer in model.named_buffers(remove_duplicate=False):
        yield name, buffer, "buffer" if name in kept else "unsaved buffer"
    for i, compiled in enumerate(graphs):
        for source in compiled.raw.tensors:
            if compiled.raw.tensors.recipe(source) is not None:
                continue  # it is made again of what is saved
            yield _name(source, compiled, i), compiled.raw.tensors[source], "constant"


def load(path: str | os.PathLike[str], **options: Any) -> OptimizedModule:
    """The network that `save` wrote, optimised.

    It has the weights under their names (`state_dict`, `load_state_dict`, live edits), takes what the saved one was
    called with and every size that its graphs hold for, and has gradients in eval mode; it has no training mode.

    Weights are read in place, from the mapped file: it must not be changed while they are in use, but may be replaced,
    as `save` does. Packed ones (`save(..., packed=True)`) count for as long as the weights they were made of are those
    in the file, and where the kernel reads as many bytes. Numbers are taken on trust, packed ones as others: a digest
    would read all of the file first. In a file that something else wrote again they are left out.

    Args:
        path: of the file. options: as of `optimize`.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is none of ours, or damaged; says how.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load: no such file: {path}")
    try:
        network, dtype = _read(Path(path))
    except (safetensors.SafetensorError, CodecError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"load: {path} is no network that pycnn.save wrote: {error}") from error
    return optimize(network, **{"dtype": dtype, **options})


def _read(path: Path) -> tuple[SavedNetwork, torch.dtype | None]:
    """The network, and the `dtype` it was optimised with."""
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise CodecError(f"its format is {header.get('format')!r}, not {FORMAT!r}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    packed = tensors.pop(_PACKED, None)
    described = json.loads(header.get("network", "null"))
    try:
        network = SavedNetwork()
        _hold(network, tensors, described["held"], described["same"])
        graphs = []
        for data in described["graphs"]:
            own = [
                n for i, n in enumerate(data["tensors"]) if str(i) not in data.get("derived", {})
            ]
            graph = from_json(data, *table_of(network, own))
            sizes = data["sizes"]
            known = None if sizes is None else frozenset(decode(s, {}) for s in sizes)
            if known is None:
                graph = graph.replace(sizes_read=False)
            graphs.append(SavedGraph(graph, known))
        network.graphs = tuple(graphs)
        if packed is not None and _is_ours(path):
            network.stored = StoredWeights(_places(packed, described["packed"]), network)
        dtype = decode(described.get("dtype"), {})
        if dtype is not None and not isinstance(dtype, torch.dtype):
            raise TypeError(f"its dtype is {dtype!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise CodecError(f"{type(error).__name__}: {error}") from error
    return network, dtype


def _places(memory: Tensor, places: dict[str, list[int]]) -> dict[str, Tensor]:
    """The packed weights by digest, in place. CodecError: one does not lie within."""
    if memory.dtype != torch.int64 or memory.dim() != 1 or memory.data_ptr() % _ALIGN:
        raise CodecError(f"packed weights are {memory.dtype} of shape {list(memory.shape)}")
    floats, found = memory.view(torch.float32), {}
    for digest, place in places.items():
        if not isinstance(place, list) or [*map(type, place)] != [int, int]:
            raise CodecError(f"packed weights at {place!r}")
        start, size = place
        if start % _ALIGN or size % 4 or not 0 <= start <= start + size <= memory.nbytes:
            raise CodecError(f"packed weights at {start}, {size} bytes of {memory.nbytes}")
        found[digest] = floats[start // 4 : (start + size) // 4]
    return found


def _hold(
    network: SavedNetwork, tensors: dict[str, Tensor], held: dict[str, str], same: dict[str, str]
) -> None:
    for name, kind in held.items():
        first = same.get(name, name)
        tied = first != name and held[first] == kind == "parameter"
        network.hold(name, network.get_parameter(first) if tied else tensors[first], kind)
