"""`capture`: run a module once on meta twins of its tensors and write down every torch function it calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from ..ir import (
    TENSOR,
    Const,
    Graph,
    InputTree,
    Origin,
    OutputLeaf,
    TensorTable,
    flatten_input,
    flatten_output,
    is_plain,
    recording_guards,
    verify,
)
from .aliases import expose_aliases
from .aten import functional
from .calls import CaptureError
from .nodes import run
from .origins import Origins
from .questions import ask
from .saved import SavedNetwork
from .trace import Trace
from .untouched import untouched

_PLAIN = (Tensor, nn.Parameter)


def capture(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    cast: torch.dtype | None = None,
) -> Graph:
    """The graph of `model(*args, **kwargs)`; tensors among the arguments are its inputs, the rest constants.

    `dtype`: of the tensors that kernels take; what computes in another is run by torch. `cast`: the graph is that of
    ``model.to(cast)``; the arguments are in it already.
    The model runs once on meta tensors, with the train/eval flags its modules have; no live tensor is read or
    written.  CaptureError, with the reason, for a model that looks at values (`if x.sum() > 0`), writes into its
    input, or uses memory that an in-place call changed behind its back.
    """
    if isinstance(model, SavedNetwork):
        return model.graph_for(args, dict(kwargs or {}))
    leaves, input_tree = flatten_input(args, dict(kwargs or {}))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    _check_constants(input_tree)
    _check_inputs(tensors)
    _check_modules(model)
    trace = Trace(TensorTable(model, cast), tensors[0].device, dtype)
    twins = iter([trace.add_input(tensor) for tensor in tensors])
    leaves = [next(twins) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    twin_args, twin_kwargs = torch.utils._pytree.tree_unflatten(leaves, input_tree.spec)
    with recording_guards() as guards:
        result, origins = _run(trace, model, twin_args, twin_kwargs)
    trace.check_written_sources()
    graph = _graph(trace, input_tree, tensors, result, tuple(guards))
    return graph.replace(origins=origins)


def _check_inputs(tensors: list[Tensor]) -> None:
    if not tensors:
        raise CaptureError("there is no tensor among the arguments")
    for index, tensor in enumerate(tensors):
        if type(tensor) not in _PLAIN or tensor.layout != torch.strided:
            raise CaptureError(
                f"input {index} is a {tensor.layout} {type(tensor).__name__}, not a plain tensor"
            )


def _check_constants(input_tree: InputTree) -> None:
    for constant in input_tree.constants:
        if constant is not TENSOR and not is_plain(constant) and not callable(constant):
            raise CaptureError(
                f"an argument is a {type(constant).__name__}, which may hold tensors"
            )


def _check_modules(model: nn.Module) -> None:
    """Hooks would run once, now, and never again; TorchScript calls no function that a mode sees; a tensor's subclass
    may mean something else by each op."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(f"{path or 'the model'} is TorchScript, whose calls cannot be seen")
        if module._forward_hooks or module._forward_pre_hooks:
            raise CaptureError(
                f"{path or 'the model'} has a forward hook, which must run at each call"
            )
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and type(tensor) not in _PLAIN:
                name = f"{path}.{key}".lstrip(".")
                raise CaptureError(f"{name} is a {type(tensor).__name__}, not a plain tensor")


def _run(
    trace: Trace, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, dict[int, Origin]]:
    mode = _Mode(trace)
    try:
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            untouched(model, trace.derived.__contains__),
            _module_paths(trace, model),
            mode,
        ):
            result = run(trace, model, args, kwargs)
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"{trace.where()}{type(error).__name__}: {error}") from error
    if mode.refusal is not None:  # model code swallowed it
        raise mode.refusal
    return result, mode.origins.of


class _Mode(TorchFunctionMode):
    """Hands every torch function that model code calls to the trace."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.refusal: CaptureError | None = None
        self.origins = Origins(trace)
        self._trace = trace

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        try:
            call = functional(func, args, kwargs or {})
            asked, answer = ask(self._trace, *call)
            if not asked:
                answer = self._trace.call(*call)
                self.origins.note(func, answer, (args, kwargs or {}))
            return answer
        except CaptureError as refusal:
            self.refusal = refusal
            raise


@contextmanager
def _module_paths(trace: Trace, model: nn.Module) -> Iterator[None]:
    """Keep `trace.path` at the innermost module that runs, for this thread's calls only."""
    names = {id(module): name for name, module in model.named_modules()}
    stack: list[str] = []
    owner = threading.get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == owner:
            stack.append(trace.path)
            fallback = f"{trace.path}.{type(module).__name__}".lstrip(".")
            trace.path = names.get(id(module), fallback)

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        if threading.get_ident() == owner:
            trace.path = stack.pop()

    hooks = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _graph(
    trace: Trace, input_tree: InputTree, inputs: list[Tensor], result: Any, guards: tuple[Any, ...]
) -> Graph:
    leaves, output_tree = flatten_output(result)
    outputs: list[OutputLeaf] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            if not is_plain(leaf):
                raise CaptureError(
                    f"the model returns a {type(leaf).__name__}, which may hold tensors"
                )
            outputs.append(Const(leaf))
            continue
        value = trace.twins.value_of(leaf)
        outputs.append(trace.source_of(leaf) if value is None else value)
    twins = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    nodes, aliased = expose_aliases(trace, twins)
    graph = Graph(
        inputs=tuple(range(len(inputs))),
        nodes=tuple(nodes),
        outputs=tuple(outputs),
        output_tree=output_tree,
        input_tree=input_tree,
        tensors=trace.tensors,
        dtypes=trace.dtypes,
        input_shapes=tuple(tuple(x.shape) for x in inputs),
        guards=guards,
        sizes_read=trace.sizes_read,
        layout_read=trace.layout_read,
        aliased=aliased,
    )
    return verify(graph)
