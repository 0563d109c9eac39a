"""From a record of calls to a `Summary`: calls of a leaf module make one row, others one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from pycnn.summary.field import Field
from pycnn.summary.record import Call, Record
from pycnn.summary.report import Row, Stage, Summary, roles_of
from pycnn.summary.stages import Layer, stages

_NOTHING = frozenset(
    [
        *(
            "contiguous",
            "detach",
            "to",
            "type_as",
            "float",
            "double",
            "alias",
            "expand_as",
            "__get__",
        ),
        *("view", "reshape", "view_as", "reshape_as", "flatten", "requires_grad_"),
    ]
)
_FOLLOWERS = (
    *("norm", "act", "relu", "gelu", "silu", "swish", "sigmoid", "tanh", "mish", "elu"),
    *("dropout", "droppath", "stochastic", "identity"),
)


@dataclass
class _Draft:
    """A row in the making: its calls by number."""

    calls: list[int] = field(default_factory=list)


def build(model: nn.Module, record: Record) -> Summary:
    """The summary of a record of `model`."""
    calls = record.calls
    drafts, row_of = _rows(calls)
    rows = [_row(draft, calls, row_of) for draft in drafts]
    ends = [calls[draft.calls[-1]] for draft in drafts]
    names = stages([_layer(row, end) for row, end in zip(rows, ends, strict=True)])
    finished = tuple(
        Row(r.path, r.kind, r.window, r.inputs, r.output, name, *_figures(r))
        for r, name in zip(rows, names, strict=True)
    )
    outputs = {_to_row(at, row_of) for at in record.outputs}
    used = {name for call in calls for name in call.parameters}
    parameters = dict(model.named_parameters())
    is_map = any(at >= 0 and _step(ends[at].field) is not None for at in outputs)
    return Summary(
        model=type(model).__name__,
        inputs=record.input_shapes,
        rows=finished,
        stages=_stages(finished, roles_of(is_map)),
        parameters=sum(p.numel() for p in parameters.values()),
        unused=tuple(name for name in parameters if name not in used),
        macs=sum(row.macs for row in finished),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters.values()),
        input_bytes=record.input_bytes,
        activation_bytes=sum(row.output_bytes for row in finished),
        peak_bytes=_peak(finished, drafts, calls, row_of, outputs, record.input_bytes),
        notes=(record.note,) if record.note else (),
    )


def _rows(calls: Sequence[Call]) -> tuple[list[_Draft], dict[int, int]]:
    """Rows in order of their last call, and call -> row; a call that changes nothing belongs to its operand's row."""
    drafts: list[_Draft] = []
    open_frames: dict[int, _Draft] = {}
    through: dict[int, int] = {}  # a call that changes nothing -> the call it passes on
    for at, call in enumerate(calls):
        if call.frame.owns_rows:
            draft = open_frames.get(id(call.frame))
            if draft is None:
                draft = open_frames[id(call.frame)] = _Draft()
                drafts.append(draft)
            draft.calls.append(at)
        elif _changes_nothing(call, calls):
            assert call.alias_of is not None
            through[at] = call.alias_of
        else:
            drafts.append(_Draft([at]))
    row_of = {at: i for i, draft in enumerate(drafts) for at in draft.calls}
    for at, source in through.items():
        row_of[at] = row_of.get(source, source) if source >= 0 else source
    return drafts, row_of


def _changes_nothing(call: Call, calls: Sequence[Call]) -> bool:
    if call.alias_of is None or call.in_place or call.name not in _NOTHING or call.parameters:
        return False
    return call.alias_of >= 0 and calls[call.alias_of].output == call.output


def _to_row(at: int, row_of: dict[int, int]) -> int:
    return at if at < 0 else row_of[at]


def _row(draft: _Draft, calls: Sequence[Call], row_of: dict[int, int]) -> Row:
    """A row without its stage."""
    mine = [calls[at] for at in draft.calls]
    first, last = mine[0], mine[-1]
    row = row_of[draft.calls[0]]
    inputs = dict.fromkeys(_to_row(at, row_of) for call in mine for at in call.inputs)
    windows = [call.window for call in mine if call.window is not None]
    kind = first.frame.kind if first.frame.owns_rows else _plain_name(first.name)
    made = [call for call in mine if call.alias_of is None]
    return Row(
        path=first.frame.path,
        kind=kind,
        window=str(windows[0]) if len(windows) == 1 else "",
        inputs=tuple(at for at in inputs if at != row),
        output=last.output,
        stage="",
        parameters=sum(sum(call.parameters.values()) for call in mine),
        macs=sum(call.macs for call in mine),
        receptive_field=_size(last.field),
        output_bytes=last.output_bytes if made else 0,
    )


def _figures(row: Row) -> tuple[int, int, tuple[int, ...] | None, int]:
    return row.parameters, row.macs, row.receptive_field, row.output_bytes


def _plain_name(name: str) -> str:
    """`__iadd__`, `add_`, `__radd__` are all "add"; `cat` is "concat"."""
    plain = name.strip("_")
    if name.startswith("__") and plain[:1] in ("i", "r") and plain[1:] in _OPERATORS:
        plain = plain[1:]
    return {"cat": "concat", "getitem": "slice", "get": "view"}.get(plain, plain)


_OPERATORS = frozenset(["add", "sub", "mul", "truediv", "div", "matmul", "pow"])


def _size(found: Field | None) -> tuple[int, ...] | None:
    if found is None:
        return ()
    if any(size == float("inf") for size in found.size):
        return None
    return tuple(round(size) for size in found.size)


def _step(found: Field | None) -> float | None:
    return None if found is None or not found.is_map else max(found.step)


def _layer(row: Row, last: Call) -> Layer:
    kind = row.kind.lower()
    follows = any(part in kind for part in _FOLLOWERS)
    return Layer(row.path, _step(last.field), row.macs > 0, follows and row.macs == 0)


def _stages(rows: Sequence[Row], roles: dict[str, str]) -> tuple[Stage, ...]:
    found = []
    for name in dict.fromkeys(row.stage for row in rows):
        mine = [row for row in rows if row.stage == name]
        sums = sum(row.parameters for row in mine), sum(row.macs for row in mine)
        found.append(Stage(name, roles[name], mine[-1].output, len(mine), *sums))
    return tuple(found)


def _peak(
    rows: Sequence[Row],
    drafts: Sequence[_Draft],
    calls: Sequence[Call],
    row_of: dict[int, int],
    outputs: set[int],
    input_bytes: int,
) -> int:
    """Most bytes alive at once: inputs throughout, each result from its row to the last that reads it or a view."""
    owner: dict[int, int] = {}
    for i, draft in enumerate(drafts):
        alias = calls[draft.calls[-1]].alias_of
        while alias is not None and alias >= 0 and row_of[alias] == i:
            alias = calls[alias].alias_of
        shares = rows[i].output_bytes == 0 and alias is not None
        owner[i] = i if not shares or alias is None else _to_row(alias, row_of)
        owner[i] = owner.get(owner[i], owner[i])
    last = {i: i for i in range(len(rows))}
    for i, row in enumerate(rows):
        for at in (*row.inputs, i):
            root = owner.get(at, at)
            if root >= 0:
                last[root] = max(last[root], i)
    for at in outputs:
        if owner.get(at, at) >= 0:
            last[owner[at]] = len(rows) - 1
    ending: dict[int, int] = {}
    for i, row in enumerate(rows):
        ending[last[i]] = ending.get(last[i], 0) + row.output_bytes
    alive = peak = input_bytes
    for i, row in enumerate(rows):
        alive += row.output_bytes
        peak = max(peak, alive)
        alive -= ending.get(i, 0)
    return peak
