"""``torch.compile(model, backend="pycnn")``: what torch finds through the entry point torch_dynamo_backends."""

from __future__ import annotations

import gc
import inspect
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from pycnn.optimize import OptimizedModule, optimize

_KEPT_MODULES = 16
_COUNTER = "num_batches_tracked"


def compile_graph(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The function that stands for one graph of ``torch.compile(model, backend="pycnn", options={...})``.

    It is the graph, its parameters in place, under :func:`pycnn.optimize`: so weights may change at any time and
    gradients are torch's own. Where gradients are needed and the graph could not run twice (batch norm or dropout in
    training), torch runs it.

    Args:
        graph, example_inputs: from dynamo: tensors of modules, sizes and the caller's tensors are all inputs.
        mode: ignored, with a warning: there is one mode, and no step to tune while compiling.
        options: keywords of :func:`pycnn.optimize`.

    Raises:
        TypeError: an option that `optimize` does not have, or a value of the wrong type. ValueError: a bad value.
    """
    known = [name for name in inspect.signature(optimize).parameters if name != "model"]
    unknown = [name for name in options or {} if name not in known]
    if unknown:
        raise TypeError(
            f"torch.compile, backend pycnn: unknown option {', '.join(map(repr, unknown))}; the "
            f"options are those of pycnn.optimize: {', '.join(known)}"
        )
    if mode is not None:
        warnings.warn(
            f"torch.compile, backend pycnn: mode={mode!r} is ignored; options={{...}} takes {', '.join(known)}",
            stacklevel=2,
        )
    optimize(nn.Identity(), **dict(options or {}))  # a bad value is an error now, not at a call
    return _Runner(_Form(graph, example_inputs), graph, dict(options or {}))


class _Form:
    """A graph of dynamo's with its inputs told apart.

    Attributes:
        held: position -> name, of the tensors that modules hold. given: positions of the other inputs that a call
            passes on; sizes of tensors are read from those again. numbers: those of them that are Python's floats,
            handed over as tensors.
        single: it returns a tuple of one, which is unpacked.
    """

    def __init__(self, module: fx.GraphModule, example_inputs: Sequence[Any]) -> None:
        self._attributes = {
            str(node.target): _attribute(module, str(node.target))
            for node in module.graph.nodes
            if node.op in ("get_attr", "call_module")
        }
        self._graph = fx.Graph()
        self._graph.output(self._graph.graph_copy(module.graph, {}))
        inputs = [node for node in self._graph.nodes if node.op == "placeholder"]
        held = [i for i, x in enumerate(example_inputs) if _is_held(x)]
        names = _names([_source(inputs[i]) for i in held], taken=self._attributes)
        self.held = dict(zip(held, names, strict=True))
        sizes = _sizes(inputs, example_inputs, self.held)
        self.given = [i for i in range(len(inputs)) if i not in self.held and i not in sizes]
        self.numbers = {i for i in self.given if _is_number(inputs[i])}
        self._replace_inputs(inputs, sizes)
        (result,) = self._graph.output_node().args
        self.single = isinstance(result, (tuple, list)) and len(result) == 1
        if self.single:
            self._graph.output_node().args = (result[0],)  # type: ignore[index]
        self._graph.lint()

    def _replace_inputs(self, inputs: list[fx.Node], sizes: dict[int, tuple[int, int]]) -> None:
        """Held tensors become attributes, sizes are read from the tensors that have them."""
        first = next(node for node in self._graph.nodes if node.op != "placeholder")
        with self._graph.inserting_before(first):
            for i, name in self.held.items():
                inputs[i].replace_all_uses_with(self._graph.create_node("get_attr", name))
            for i, (tensor, axis) in sizes.items():
                size = self._graph.call_method("size", (inputs[tensor], axis))
                inputs[i].replace_all_uses_with(size)
        for i in (*self.held, *sizes):
            self._graph.erase_node(inputs[i])
        for i in self.numbers:
            for item in list(inputs[i].users):
                item.replace_all_uses_with(inputs[i])
                self._graph.erase_node(item)

    def arguments(self, args: Sequence[Any]) -> list[Any]:
        """What the module is called with."""
        return [args[i].item() if i in self.numbers else args[i] for i in self.given]

    def over(self, tensors: Sequence[Tensor]) -> fx.GraphModule:
        """The graph as a module in eval mode that holds `tensors`, in the order of `held`."""
        named = dict(zip(self.held.values(), tensors, strict=True))
        module = fx.GraphModule({**self._attributes, **named}, self._graph)
        for name, tensor in named.items():
            prefix, _, key = name.rpartition(".")
            owner = module.get_submodule(prefix)
            if isinstance(tensor, nn.Parameter):
                owner.register_parameter(key, tensor)
            else:
                owner.register_buffer(key, tensor)
        for name, counter in _counters(named).items():
            module.get_submodule(name.rpartition(".")[0]).register_buffer(_COUNTER, counter)
        return module.eval()


class _Runner:
    """Runs the graph for whatever tensors a call brings: those of modules are told by identity."""

    def __init__(self, form: _Form, own: fx.GraphModule, options: dict[str, Any]) -> None:
        self._form, self._own, self._options = form, own, options
        self._kept: list[tuple[list[Tensor], OptimizedModule]] = []
        self._lock = threading.Lock()
        self._once = False  # with gradients it cannot run twice, so torch runs it

    def __call__(self, *args: Any) -> Any:
        if self._once and torch.is_grad_enabled():
            return self._own.forward(*args)
        fast = self._module([args[i] for i in self._form.held])
        given = self._form.arguments(args)
        if torch.is_grad_enabled() and not self._recomputes(fast, given):
            return self._own.forward(*args)
        result = fast(*given)
        return (result,) if self._form.single else result

    def _recomputes(self, fast: OptimizedModule, given: list[Any]) -> bool:
        compiled, _ = fast._current(tuple(given), {})
        self._once = compiled is None or not compiled.recomputes()
        return not self._once

    def _module(self, tensors: list[Tensor]) -> OptimizedModule:
        """The module that holds `tensors`: one of the kept ones, one of them with its tensors replaced, or a new one.

        One graph may serve several modules of a class; a module of which half the tensors are new is another one.
        """
        for held, fast in self._kept:
            if all(a is b for a, b in zip(held, tensors, strict=True)):
                return fast
        with self._lock:
            for held, fast in self._kept:
                same = sum(a is b for a, b in zip(held, tensors, strict=True))
                if 2 * same > len(tensors):
                    self._put(fast, tensors)
                    held[:] = tensors
                    return fast
            fast = optimize(self._form.over(tensors), **self._options)
            self._kept = [(tensors, fast), *self._kept[: _KEPT_MODULES - 1]]
            return fast

    def _put(self, fast: OptimizedModule, tensors: list[Tensor]) -> None:
        named = dict(zip(self._form.held.values(), tensors, strict=True))
        counters = {
            f"{name.rpartition('.')[0]}.{_COUNTER}": counter
            for name, counter in _counters(named).items()
        }
        for name, tensor in {**named, **counters}.items():
            prefix, _, key = name.rpartition(".")
            owner = fast._model.get_submodule(prefix)
            (owner._parameters if key in owner._parameters else owner._buffers)[key] = tensor


def _is_held(x: Any) -> bool:
    """A parameter or buffer of a module: dynamo says so on the tensor."""
    if not isinstance(x, Tensor) or getattr(x, "_dynamo_static_input_type", None) is None:
        return isinstance(x, nn.Parameter)
    return isinstance(x, nn.Parameter) or not x.requires_grad


def _is_number(node: fx.Node) -> bool:
    """A float of the caller's in a tensor, of which nothing but the number is used."""
    as_tensor = getattr(node.meta.get("grapharg"), "pass_arg_as_tensor", False)
    return as_tensor and all(n.op == "call_method" and n.target == "item" for n in node.users)


def _source(node: fx.Node) -> list[str]:
    """L['self']._modules['conv']._parameters['weight'] as [self, conv, weight]."""
    argument = node.meta.get("grapharg")
    text = str(argument.source.name) if argument is not None else node.name
    parts = re.findall(r"\['([^']+)'\]|\[(\d+)\]|\.(?!_modules|_parameters|_buffers)(\w+)", text)
    return [next(filter(None, part)) for part in parts] or [node.name]


def _names(sources: list[list[str]], taken: Mapping[str, Any]) -> list[str]:
    """Paths for the tensors, without the variable that all of them come from."""
    if len({source[0] for source in sources}) == 1 and all(len(s) > 1 for s in sources):
        sources = [source[1:] for source in sources]
    names = [".".join(part.replace(".", "_") for part in source) for source in sources]
    paths = {*taken, *names}
    clash = len(set(names)) < len(names) or any(
        a == b or b.startswith(f"{a}.") or a.startswith(f"{b}.")
        for a in names
        for b in paths
        if a is not b
    )
    return [f"held.t{i}" for i in range(len(names))] if clash else names


def _sizes(
    inputs: Sequence[fx.Node], examples: Sequence[Any], held: Mapping[int, str]
) -> dict[int, tuple[int, int]]:
    """Position of a symbolic size -> (position of a tensor, its axis of that size), where a tensor has it."""
    where: dict[str, tuple[int, int]] = {}
    for i, node in enumerate(inputs):
        if isinstance(examples[i], Tensor) and i not in held:
            for axis, size in enumerate(node.meta["example_value"].shape):
                if isinstance(size, torch.SymInt):
                    where.setdefault(str(size), (i, axis))
    found = {}
    for i, node in enumerate(inputs):
        size = node.meta.get("example_value")
        if not isinstance(examples[i], Tensor) and isinstance(size, torch.SymInt):
            found[i] = where.get(str(size))
    return {i: place for i, place in found.items() if place is not None}


def _counters(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Buffer's name -> the counter of training steps beside it in its module.

    A training step writes running statistics without counting a version of theirs, but counts there; the graph does
    not read the counter, so dynamo does not hand it over.
    """
    buffers = {id(t): name for name, t in named.items() if not isinstance(t, nn.Parameter)}
    found: dict[str, Tensor] = {}
    if not buffers:
        return found
    for holder in gc.get_referrers(*[t for t in named.values() if id(t) in buffers]):
        counter = holder.get(_COUNTER) if isinstance(holder, dict) else None
        if isinstance(counter, Tensor):
            for tensor in holder.values():
                if id(tensor) in buffers and tensor is not counter:
                    found[buffers[id(tensor)]] = counter
    return found


def _attribute(module: nn.Module, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name)
    return found
