"""How a product of two values becomes one step that reads its operands, and writes its result, where they lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pycnn.ir import MatMul, Node
from pycnn.planning.homes import Home
from pycnn.planning.lower_moves import dense_copy, starting, through
from pycnn.planning.lower_ops import lower_op
from pycnn.planning.lowering import Lowering
from pycnn.planning.movement import View, rearrange, strides
from pycnn.planning.params import Params
from pycnn.planning.products import AXES, Lie, common, dense, read, written


@dataclass(frozen=True)
class _Operand:
    """`home`: its buffer, None for a tensor of the model; `view`: its three axes there."""

    home: Home | None
    view: View


@lower_op.register
def _matmul(op: MatMul, work: Lowering, node: Node) -> None:
    first, second = op.product([work.shapes[v] for v in node.inputs], work.tensors)
    shape = (*first[:2], second[2])
    operands = _operands(op, work, node)
    y = work.homes[node.outputs[0]]
    to = written(shape, op.y, strides(work.shapes[node.outputs[0]], y.ld), work.tensors)
    if to is not None and _emit(op, work, node, operands, shape, y, to):
        return
    made = work.buffer(math.prod(shape), shape[2])
    if not _emit(op, work, node, operands, shape, made, dense(shape)):
        copies = [_copy(work, node, operand) for operand in operands]
        assert _emit(op, work, node, copies, shape, made, dense(shape))
    x, view = through(work, node, made, View.dense(shape), op.y)
    axes = view.onto(strides(work.shapes[node.outputs[0]], y.ld))
    work.emit("rearrange", node, rearrange(axes), starting(x, view), y)


def _operands(op: MatMul, work: Lowering, node: Node) -> list[_Operand]:
    """a, b and what is added, if anything."""
    found = []
    for value, moves in zip(node.inputs, (op.a, op.b, op.r), strict=False):
        home = work.homes[value]
        view = View.of(work.shapes[value], home.ld, home.nchw)
        found.append(_Operand(*through(work, node, home, view, moves)))
    if op.added is None:
        return found
    *lead, m, k = work.tensors.shape(op.added)
    heads = math.prod(lead)
    entries = found[0].view.shape[0]
    batch = ((entries // heads, 0), (heads, m * k))
    return [*found, _Operand(None, View((batch, ((m, k),), ((k, 1),))))]


def _copy(work: Lowering, node: Node, operand: _Operand) -> _Operand:
    if operand.home is None:
        return operand
    shape = operand.view.shape
    return _Operand(dense_copy(work, node, operand.home, operand.view), View.dense(shape))


def _emit(
    op: MatMul,
    work: Lowering,
    node: Node,
    operands: Sequence[_Operand],
    shape: Sequence[int],
    y: Home,
    to: Lie,
) -> bool:
    """Add the step; False: no strides tell all operands together."""
    lies = [lie for lie in (read(operand.view) for operand in operands) if lie is not None]
    axes = common([lie.batch for lie in (*lies, to)])
    if len(lies) < len(operands) or axes is None:
        return False
    c = operands[0].view.shape[2]
    params: Params = {"m": shape[1], "c": c, "k": shape[2], "scale": op.scale}
    for at, (size, *apart) in enumerate(axes, AXES - len(axes)):
        *read_apart, y_apart = apart
        params |= {f"s{at}": size, f"y{at}": y_apart}
        params |= {f"{name}{at}": s for name, s in zip("abr", read_apart, strict=False)}
    a, b, *r = lies
    params |= {"am": a.row, "ac": a.column, "bc": b.row, "bk": b.column}
    params |= {"ym": to.row, "yk": to.column}
    if r:
        params |= {"rm": r[0].row, "rk": r[0].column}
    homes = [None if o.home is None else starting(o.home, o.view) for o in operands]
    third = homes[2] if len(homes) > 2 else None
    assert homes[0] is not None
    weighted = op.added is not None
    work.emit("matmul", node, params, homes[0], y, homes[1], weighted, third)
    return True
