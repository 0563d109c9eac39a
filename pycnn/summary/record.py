"""Run a module on stand-ins without memory and write down each torch function it calls, with what `summary` tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from pycnn.frontend.calls import first_line, map_leaves
from pycnn.frontend.untouched import untouched
from pycnn.ir import meta_like, on_device, tensors_in
from pycnn.summary.field import Field, Shape, Window, of_input, propagate, shape_of, window
from pycnn.summary.shadow import shadow


@dataclass
class Frame:
    """One call of a module."""

    path: str
    kind: str
    owns_rows: bool  # a leaf: its calls make one row
    entered: int = 0


@dataclass
class Call:
    """One torch function: `inputs` are indices of calls, -1 - i for the i-th input of the model."""

    name: str
    frame: Frame
    inputs: tuple[int, ...]
    output: Shape
    output_bytes: int
    alias_of: int | None  # the operand whose memory the result is
    in_place: bool
    macs: int
    parameters: dict[str, int]  # first read here: name -> elements
    parameter_bytes: int
    field: Field | None
    window: Window | None


@dataclass
class Record:
    """A run: calls in order, the calls whose results the model returns, sizes of the inputs."""

    calls: list[Call] = field(default_factory=list)
    outputs: tuple[int, ...] = ()
    input_shapes: tuple[Shape, ...] = ()
    input_bytes: int = 0
    note: str = ""


def record(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Record:
    """The run of `model(*args, **kwargs)` in eval mode: on meta tensors, or where code looks at values on real ones.

    Raises:
        ValueError: the model does not run on these inputs.
    """
    try:
        return _run(model, args, kwargs, meta=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        first = error
    try:
        found = _run(model, args, kwargs, meta=False)
    except Exception as error:
        told = first if any(p.is_meta for p in model.parameters()) else error
        shapes = ", ".join(str(list(x.shape)) for x in tensors_in((args, kwargs)))
        raise ValueError(
            f"summary: {type(model).__name__} does not run on {shapes}: "
            f"{type(told).__name__}: {first_line(told)}"
        ) from error
    found.note = f"ran on real tensors, since it does not on stand-ins without values: {reason}"
    return found


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bool) -> Record:
    twin, paths = shadow(model, clone_buffers=not meta)
    mode = _Recorder(model, meta)
    args, kwargs = mode.take_inputs((args, kwargs))
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        untouched(model),
        _frames(mode, paths),
        mode,
    ):
        result = twin(*args, **kwargs)
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(result)
        outputs = [mode.known[x][0] for x in leaves if isinstance(x, Tensor) and x in mode.known]
    mode.record.outputs = tuple(outputs)
    return mode.record


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, meta: bool) -> None:
        super().__init__()
        self.record = Record()
        self.meta = meta
        self.frames = [Frame("", type(model).__name__, False)]
        self.known: Any = WeakTensorKeyDictionary()  # tensor -> (call, Field)
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._seen: set[str] = set()
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._counter = _Counter()

    def take_inputs(self, tree: Any) -> Any:
        """The arguments with stand-ins for tensors."""

        def leaf(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            index = len(self.record.input_shapes)
            x = meta_like(x) if self.meta else self._real(x)
            self.record.input_shapes += (shape_of(x),)
            self.record.input_bytes += _bytes(x)
            self.known[x] = (-1 - index, of_input(shape_of(x)))
            return x

        return map_leaves(tree, leaf)

    def _real(self, x: Tensor) -> Tensor:
        """A copy on the model's device; zeros for what is only a shape."""
        return torch.zeros_like(x, device=self._device) if x.is_meta else x.detach().clone()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = [t for t in tensors_in((args, kwargs)) if id(t) in self._names]
        if self.meta:
            args, kwargs = map_leaves(args, self._twin), map_leaves(kwargs, self._twin)
            args, kwargs = on_device(func, args, kwargs, "meta")
        before = self._counter.macs
        with self._counter:
            result = func(*args, **kwargs)
        operands = [t for t in tensors_in((args, kwargs)) if t in self.known]
        made = tensors_in(result)
        if getattr(func, "__name__", "") == "__setitem__" and operands:
            made = [args[0]]
        if operands and made:
            call = (func, args, kwargs)
            self._add(call, operands, made, read, self._counter.macs - before)
        return result

    def _twin(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or x.is_meta:
            return x
        if id(x) not in self._twins:
            self._twins[id(x)] = (x, meta_like(x))
        return self._twins[id(x)][1]

    def _add(
        self,
        call: tuple[Any, tuple[Any, ...], dict[str, Any]],
        operands: Sequence[Tensor],
        made: Sequence[Tensor],
        read: Sequence[Tensor],
        macs: int,
    ) -> None:
        func, args, kwargs = call
        name = getattr(func, "__name__", str(func))
        known = [self.known[t] for t in operands]
        storages = {
            t.untyped_storage()._cdata: at for t, (at, _) in zip(operands, known, strict=True)
        }
        alias = storages.get(made[0].untyped_storage()._cdata)
        new = {self._names[id(p)]: p for p in read if self._names[id(p)] not in self._seen}
        self._seen.update(new)
        shapes = [(shape_of(t), f) for t, (_, f) in zip(operands, known, strict=True)]
        fields = [propagate(name, args, kwargs, shapes, shape_of(y)) for y in made]
        self.record.calls.append(
            Call(
                name=name,
                frame=self.frames[-1],
                inputs=tuple(dict.fromkeys(at for at, _ in known)),
                output=shape_of(made[0]),
                output_bytes=sum(_bytes(y) for y in made),
                alias_of=alias,
                in_place=any(made[0] is t for t in operands),
                macs=macs,
                parameters={key: p.numel() for key, p in new.items()},
                parameter_bytes=sum(_bytes(p) for p in new.values()),
                field=fields[0],
                window=window(name, args, kwargs),
            )
        )
        for y, its_field in zip(made, fields, strict=True):
            self.known[y] = (len(self.record.calls) - 1, its_field)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Multiply-adds of what torch's functions dispatch to: products of convolutions and matrices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.macs += int(formula(*args, **(kwargs or {}), out_val=out)) // 2
        return out


@contextmanager
def _frames(mode: _Recorder, paths: dict[int, str]) -> Iterator[None]:
    """Keep the frame of the innermost module that runs, for this thread's calls only."""
    owner = threading.get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() != owner:
            return
        outer = mode.frames[-1]
        outer.entered += 1
        path = paths.get(id(module), f"{outer.path}.{type(module).__name__}".lstrip("."))
        mode.frames.append(Frame(path, type(module).__name__, _is_leaf(module)))

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        if threading.get_ident() == owner:
            frame = mode.frames.pop()
            own = bool(frame.path) or type(module).__module__.startswith("torch.")
            frame.owns_rows = frame.owns_rows and frame.entered == 0 and own

    hooks = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_leaf(module: nn.Module) -> bool:
    return not module._modules or type(module).__module__.startswith("torch.")


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()
