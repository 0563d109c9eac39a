"""The graph under construction: what each torch call adds to it.

Model code sees meta twins; the live model is never touched.  In-place calls are made functional: the twin that was
written stands for a new value from then on, and twins that share its memory become stale (using one refuses the
capture).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ir import (
    Node,
    Source,
    TensorTable,
    Torch,
    meta_like,
    on_device,
    sources,
    tensors_in,
)
from . import converters  # noqa: F401  (fills CONVERTERS)
from .builder import Builder, Unsupported, Value
from .calls import (
    Call,
    CaptureError,
    call_sources,
    device_problem,
    first_line,
    is_inplace,
    is_random,
    map_leaves,
    memory_format_like,
    torch_op,
)
from .derived import Derived
from .pieces import PIECES, record_pieces
from .table import CONVERTERS, MAY_ALIAS
from .twins import Twins


class Trace:
    """All state of one capture."""

    def __init__(self, tensors: TensorTable, device: torch.device, dtype: torch.dtype) -> None:
        self.tensors = tensors
        self.device = device
        self.dtype = dtype  # that kernels take
        self.nodes: list[Node] = []
        self.dtypes: dict[int, torch.dtype] = {}
        self.calls: dict[int, Call] = {}  # value -> the call that made it
        self.inputs: list[Tensor] = []  # twins
        self.path = ""
        self._makers: dict[int, Node] = {}
        self.sizes_read = False
        self.layout_read = False
        self.twins = Twins(tensors)
        self.derived = Derived()
        self._written_sources: set[Source] = set()
        self._counter = itertools.count()
        self.written: set[int] = set()  # values made by an in-place call

    def new_id(self) -> int:
        return next(self._counter)

    def add_input(self, tensor: Tensor) -> Tensor:
        """The twin that the model gets instead of a tensor input."""
        twin = meta_like(tensor)
        self.inputs.append(twin)
        self.twins.memory.fix(twin, "the model's input")
        self.bind(twin, self.new_id())
        return twin

    def bind(self, twin: Tensor, value: int) -> None:
        """Let `twin` stand for `value` from now on."""
        self.twins.bind(twin, value)
        self.dtypes[value] = twin.dtype

    def source_of(self, tensor: Tensor) -> Source:
        """The Source of a tensor of the model; CaptureError for one that no traced call made."""
        source = self.twins.source_of(tensor)
        if source is None:
            raise CaptureError(f"{self.where()}a tensor that no traced call made is used")
        return source

    def sizes(self, twin: Tensor) -> torch.Size:
        """The shape of `twin` with Dims for sizes; plain for tensors of the model."""
        value = self.twins.value_of(twin)
        if value is None:
            return twin.shape
        self.sizes_read = True
        builder = self.builder()
        return torch.Size(builder.sizes(self._value(value, twin)))

    def _value(self, value: int, twin: Tensor) -> Value:
        return Value(value, tuple(twin.shape), twin.dtype, self.dtype)

    def builder(self) -> Builder:
        """For the nodes of one call."""
        return Builder(self.tensors, self.new_id, self.path, self._makers, self.dtype)

    def add(self, nodes: Sequence[Node]) -> None:
        """Commit nodes of ours."""
        self.nodes += nodes
        for node in nodes:
            for value in node.outputs:
                self._makers[value] = node
                self.dtypes[value] = self.dtype

    def where(self) -> str:
        return f"{self.path}: " if self.path else ""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one torch function on meta twins, add what it computes to the graph, give model code its result."""
        if torch.is_autocast_enabled(self.device.type):
            raise CaptureError(f"{self.where()}autocast is on: torch picks the dtype of every op")
        if is_inplace(func) or func is Tensor.__setitem__:
            self.derived.settle(self, args[0])
        call = Call(func, self.operand(args), self.operand(kwargs))
        problem = device_problem(call, self.device)
        if problem:
            raise CaptureError(self.where() + problem)
        reason = f"no converter for {call.name}"
        writes = False
        if call.func in CONVERTERS and call.func not in MAY_ALIAS:
            try:
                return self._compute(call, args)
            except Unsupported as refusal:
                reason, writes = str(refusal), refusal.writes
        meta_args, meta_kwargs = self.twins.meta(args), self.twins.meta(kwargs)
        meta_args, meta_kwargs = on_device(func, meta_args, meta_kwargs, "meta")
        twins = tensors_in((meta_args, meta_kwargs))
        versions = [t._version for t in twins]
        try:
            result = func(*meta_args, **meta_kwargs)
        except Exception as error:
            raise CaptureError(f"{self.where()}{call.name}: {first_line(error)}") from error
        written = {id(t): t for t, v in zip(twins, versions, strict=True) if t._version != v}
        self._record(call, result, list(written.values()), reason, writes)
        return self.twins.given(result)

    def operand(self, argument: Any) -> Any:
        """`argument` with tensors replaced by Values and Sources, Dims kept."""

        def leaf(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            value = self.twins.value_of(x)
            return self.source_of(x) if value is None else self._value(value, x)

        return map_leaves(argument, leaf)

    def _compute(self, call: Call, args: tuple[Any, ...]) -> Tensor:
        """A call whose result is a new tensor, or its first argument rewritten: known without asking torch."""
        builder, out = self._converted(call)
        x = args[0] if args and isinstance(args[0], Tensor) else None
        inplace = builder.inplace or is_inplace(call.func)
        if not inplace:
            twin = torch.empty(
                out.shape,
                dtype=out.dtype,
                device="meta",
                memory_format=memory_format_like(tensors_in(args), len(out.shape)),
            )
            self._commit(call, builder, out, twin)
            return twin
        if x is None or tuple(x.shape) != out.shape:
            raise Unsupported(f"{call.name}: the result does not fit the first operand")
        self._check_writable(x, call)
        self._commit(call, builder, out, x)
        self._spoil([x], call)
        return x

    def _record(
        self, call: Call, result: Any, written: list[Tensor], reason: str, writes: bool
    ) -> None:
        """Add the nodes of a call that torch ran on meta; new results and written twins get new values."""
        made = list({id(t): t for t in tensors_in(result) if t.is_meta}.values())
        new = [t for t in made if self.twins.is_new(t)]
        targets = [t for t in written if not self.twins.is_original(t)]
        writes = writes or len(targets) != len(written)
        if not new and not written:
            return  # a question about tensors, or a call that returned its argument
        if not written and len(new) != len(made):
            raise CaptureError(
                f"{self.where()}{call.name} returns new tensors and its argument together"
            )
        if call.func in MAY_ALIAS and len(new) == 1 and not written:
            try:
                builder, out = self._converted(call)
                if out.shape != tuple(new[0].shape) or out.dtype != new[0].dtype:
                    raise Unsupported(f"{call.name} to {new[0].dtype} {list(new[0].shape)}")
                self._commit(call, builder, out, new[0])
                return
            except Unsupported as refusal:
                reason = str(refusal)
        if call.func in PIECES:
            reason = record_pieces(self, call, new)
            if not reason:
                return
        for twin in targets:
            self._check_writable(twin, call)
        self._add_torch(call, new, targets, reason, writes)
        self._spoil(targets, call)

    def _converted(self, call: Call) -> tuple[Builder, Value]:
        """What the table makes of `call`; nothing is added to the graph yet."""
        builder = self.builder()
        try:
            return builder, CONVERTERS[call.func](builder, *call.args, **call.kwargs)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise Unsupported(f"{call.name}: {error}") from error

    def _commit(self, call: Call, builder: Builder, out: Value, twin: Tensor) -> None:
        self.add(builder.nodes)
        self.calls[out.id] = call
        self.bind(twin, out.id)

    def _add_torch(
        self,
        call: Call,
        new: Sequence[Tensor],
        targets: Sequence[Tensor],
        reason: str,
        writes: bool,
    ) -> None:
        op, inputs = torch_op(call, reason)
        if not (inputs or targets or writes) and self.derived.take(self, call, op, new):
            return
        mutates = tuple(inputs.index(self.twins.stands_for(t)) for t in targets)
        if writes:
            self._written_sources.update(call_sources(call))
        op = replace(op, mutates=mutates, effect=writes or is_random(call))
        outputs = []
        for twin in (*new, *targets):
            value = self.new_id()
            self.bind(twin, value)
            self.calls[value] = call
            outputs.append(value)
        self.nodes.append(Node(op, inputs, tuple(outputs), self.path))

    def _check_writable(self, twin: Tensor, call: Call) -> None:
        if twin in self.derived:
            raise CaptureError(
                f"{self.where()}{call.name} writes what is made of the model's tensors"
            )
        what = self.twins.memory.fixed(twin)
        if what is not None:
            raise CaptureError(f"{self.where()}{call.name} writes into the memory of {what}")

    def _spoil(self, targets: Sequence[Tensor], call: Call) -> None:
        """As values, those that share memory with a written twin do not see the write."""
        sentence = f"{self.where()}a tensor is used after {call.name} wrote into memory it shares"
        for target in targets:
            value = self.twins.stands_for(target)
            assert value is not None
            self.written.add(value)
            self.twins.memory.spoil(target, sentence)

    def check_written_sources(self) -> None:
        """CaptureError if a kernel of ours packs a tensor that a torch op of the same graph writes."""
        for node in self.nodes:
            if not isinstance(node.op, Torch) and self._written_sources & set(sources(node.op)):
                raise CaptureError(
                    f"{node.path}: {node.op.name} reads a tensor that the model writes"
                )
