"""From a live model and its arguments to a runnable program, and the watch over what it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from pycnn import _C
from pycnn.frontend import CaptureError, SavedNetwork, capture
from pycnn.ir import Graph, ShapeError, Torch, is_effect, same_structure
from pycnn.options import Options
from pycnn.passes import PASSES, WITH_PROLOGUES, run_passes
from pycnn.planning.devices import NoTargetError, target_of
from pycnn.planning.program import Program
from pycnn.planning.segments import TorchStep
from pycnn.planning.weights import Weights
from pycnn.watch import kinds_of, watch, watch_structure

_KEPT_GRAPHS = 16


@dataclass
class Compiled:
    """One captured graph with its program and the guard over the model's tensors and structure."""

    model: nn.Module
    options: Options
    raw: Graph
    program: Program
    device: torch.device
    guard: _C.Guard
    watched: list[frozenset[str] | None]  # by guard index: names of tensors, or None for structure
    sizes: set[tuple[Any, ...]]  # input shapes and strides of the captures
    generic: bool
    takes_tensor: bool  # called as model(tensor)
    kinds: list[tuple[Any, ...] | None]  # of the tensors, at capture

    def inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        found = self.raw.input_tree.tensors(args, kwargs)
        assert found is not None
        return [self.options.cast(x) for x in found]

    def run(self, inputs: list[Tensor], replay: bool = True) -> Any:
        with torch.no_grad():
            return self.program.run(inputs, replay)

    def takes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
        """The tensor inputs, if structure, constants, dtypes and ranks are those of the capture."""
        given = self.raw.input_tree.tensors(args, kwargs)
        if given is None:
            return None
        inputs = [self.options.cast(x) for x in given]
        for x, value, shape in zip(inputs, self.raw.inputs, self.raw.input_shapes, strict=True):
            if x.dtype != self.raw.dtypes[value] or x.dim() != len(shape) or not _plain(x):
                return None
            if x.device != self.device:
                return None
        return inputs

    def recomputes(self) -> bool:
        """Whether running the model again gives the same result: no random numbers, no shared memory."""
        return not (
            self.raw.aliased
            or any(is_effect(node) for node in self.raw.nodes)
            or any(v in self.raw.inputs for v in self.raw.output_values())
        )

    def torch_steps(self, inputs: list[Tensor]) -> list[TorchStep]:
        return [item for item in self.program.at(inputs).items if isinstance(item, TorchStep)]


@dataclass(frozen=True)
class State:
    """All graphs of a model; `match` is the one for the last arguments, `reason` why there is none."""

    graphs: tuple[Compiled, ...] = ()
    match: Compiled | None = None
    reason: str | None = None
    refused: dict[Any, tuple[_C.Guard, str]] = field(default_factory=dict)


def compile_model(
    model: nn.Module,
    options: Options,
    state: State | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> State:
    """The state after making sure of a graph for these arguments; unchanged weights keep what they had."""
    graphs = tuple(g for g in map(renewed, state.graphs) if g is not None) if state else ()
    refused = state.refused if state else {}
    for graph in graphs:
        inputs = graph.takes(args, kwargs)
        if inputs is not None and _holds(graph, inputs):
            return State(graphs, graph, None, refused)
    why = _known_refusal(refused, args, kwargs)
    if why is not None:
        return State(graphs, None, why, refused)
    try:
        made = _make(model, options, args, kwargs)
    except (CaptureError, NoTargetError, ShapeError) as error:
        key = _call_key(args, kwargs)
        if key is not None:
            others = dict(list(refused.items())[-_KEPT_GRAPHS:])
            refused = {**others, key: (watch_structure(model, settings=False)[0], str(error))}
        return State(graphs, None, str(error), refused)
    for graph in graphs:
        if _agree(graph, made):
            graph.generic = True
            return State(graphs, graph, None, refused)
    if options.strict:
        _refuse_torch(made, made.inputs(args, kwargs))
    return State((*graphs[-_KEPT_GRAPHS:], made), made, None, refused)


def known_match(
    state: State, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Compiled | None, str | None] | None:
    """`match` and `reason` as `compile_model` would find them where it had nothing to renew or to capture; it changes
    nothing itself. None: it had."""
    for graph in state.graphs:
        if not graph.guard.holds():
            return None
        inputs = graph.takes(args, kwargs)
        if inputs is not None and _holds(graph, inputs):
            return graph, None
    why = _known_refusal(state.refused, args, kwargs)
    return None if why is None else (None, why)


def _known_refusal(
    refused: dict[Any, tuple[_C.Guard, str]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """Why no graph takes these arguments, where no capture has to find out."""
    why = _why_not(args, kwargs)
    if why is not None or not refused:
        return why
    key = _call_key(args, kwargs)
    guard, why = (None, None) if key is None else refused.get(key, (None, None))
    return why if guard is not None and guard.holds() else None


def _call_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a capture of the call can see of its arguments; None: not told in a key."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    kinds: list[tuple[Any, ...]] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            kinds.append((tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.requires_grad))
        elif leaf is None or type(leaf) in (int, float, bool, str):
            kinds.append((type(leaf), leaf))
        else:
            return None
    return str(spec), tuple(kinds)


def _why_not(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    tensors = pytree.tree_leaves((args, kwargs))
    for x in tensors:
        if isinstance(x, Tensor) and not _plain(x):
            what = f"a {type(x).__name__} of shape {tuple(x.shape)} on {x.device} ({x.layout})"
            return f"no plan for an input that is {what}"
    return None


def _plain(x: Tensor) -> bool:
    """A dense tensor on the CPU or a CUDA device, with at least one element."""
    plain = type(x) in (Tensor, nn.Parameter) and x.device.type in ("cpu", "cuda")
    return plain and x.layout == torch.strided and x.numel() > 0


def _holds(graph: Compiled, inputs: list[Tensor]) -> bool:
    if not graph.generic and _sizes(inputs) not in graph.sizes:
        return False
    try:
        graph.program.at(inputs)
    except ShapeError:
        return False
    return True


def _sizes(inputs: list[Tensor]) -> tuple[Any, ...]:
    return tuple((tuple(x.shape), x.stride()) for x in inputs)


def _agree(known: Compiled, made: Compiled) -> bool:
    """A second capture at other sizes that fits the first: the first holds in general."""
    asked = known.raw.layout_read or made.raw.layout_read  # then each layout has a graph of its own
    comparable = not (known.generic or asked) and known.raw.input_tree == made.raw.input_tree
    return comparable and known.guard.holds() and same_structure(known.raw, made.raw)


def settle(known: Compiled) -> bool:
    """Whether the graph holds for sizes beyond those of its captures: as told by it, or by a capture at others now."""
    if known.raw.layout_read or known.generic:
        return known.generic
    for image in (32, 0):  # pixels more each way
        args, kwargs = known.raw.input_tree.call(_larger(known.raw, image, known.device))
        try:
            with torch.inference_mode(False), torch.no_grad():
                dtype = known.program.target().dtype
                other = capture(known.model, args, kwargs, dtype, known.options.dtype)
        except CaptureError:
            continue
        if known.guard.holds() and same_structure(known.raw, other):
            known.generic = True
            return True
    return False


def _larger(graph: Graph, image: int, device: torch.device) -> list[Tensor]:
    """Inputs with one image more; their contents do not matter."""
    n = graph.input_shapes[0][:1]
    found = []
    for value, shape in zip(graph.inputs, graph.input_shapes, strict=True):
        first = tuple(s + 1 for s in n) if shape[:1] == n else shape[:1]
        rest = shape[1:] if len(shape) != 4 else (shape[1], *(s + image for s in shape[2:]))
        found.append(torch.empty((*first, *rest), dtype=graph.dtypes[value], device=device))
    return found


def _make(
    model: nn.Module, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Compiled:
    args, kwargs = options.cast_all((args, kwargs))
    given = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    asked = options.threads, options.exact, options.batch_invariant, options.dtype
    target = target_of(model, given, *asked)
    # Capture counts versions of its stand-ins, which tensors made in inference mode lack.
    with torch.inference_mode(False), torch.no_grad():
        raw = capture(model, args, kwargs, target().dtype, options.dtype)
        graph = run_passes(raw, WITH_PROLOGUES if target().prologues else PASSES)
    stored = model.stored if isinstance(model, SavedNetwork) else None
    weights = Weights(graph.tensors, target(), stored)
    how = options.tune, options.promoted, options.memory_limit
    program = Program(graph, weights, target, *how)
    guard, watched = watch(model, raw)
    inputs = raw.input_tree.tensors(args, kwargs)
    assert inputs is not None
    generic = not raw.sizes_read and not raw.layout_read
    takes_tensor = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
    sizes = {_sizes(inputs)}
    return Compiled(
        model,
        options,
        raw,
        program,
        target().device,
        guard,
        watched,
        sizes,
        generic,
        takes_tensor,
        kinds_of(raw),
    )


def renewed(graph: Compiled) -> Compiled | None:
    """The graph over the model's present tensors: itself, or one that packs again what changed; None if structure,
    shapes or dtypes did."""
    changed = graph.guard.changed()
    if not changed:
        return graph
    names: set[str] = set()
    for index in changed:
        touched = graph.watched[index]
        if touched is None:
            return None
        names |= touched
    if kinds_of(graph.raw) != graph.kinds:
        return None
    weights = graph.program.weights.without(names)
    program = graph.program.with_weights(weights)
    guard, watched = watch(graph.model, graph.raw)
    return replace(graph, program=program, guard=guard, watched=watched)


def _refuse_torch(graph: Compiled, inputs: list[Tensor]) -> None:
    steps = [step for step in graph.torch_steps(inputs) if not step.promoted]
    if steps:
        named = "; ".join(f"{describe(step)}: {step.reason}" for step in steps)
        raise NotImplementedError(f"strict: {len(steps)} ops would run in torch: {named}")


def describe(step: TorchStep) -> str:
    """The op and where it is: "upsample_nearest2d in decoder.up"."""
    op = step.node.op
    name = getattr(op.func, "__name__", repr(op.func)) if isinstance(op, Torch) else op.name
    return f"{name} in {step.node.path}" if step.node.path else name
