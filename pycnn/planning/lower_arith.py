"""How arithmetic becomes a step, with a copy before it of what its kernel does not repeat itself."""

from __future__ import annotations

from pycnn.ir import Arith, Expand, Node, Reshape, Source
from pycnn.planning import params as fields
from pycnn.planning.broadcast import operands, spread
from pycnn.planning.homes import Home, Rows
from pycnn.planning.lower_moves import starting, through
from pycnn.planning.lower_ops import lds, lower_op
from pycnn.planning.lowering import Lowering
from pycnn.planning.movement import View, rearrange, strides


@lower_op.register
def _arith(op: Arith, work: Lowering, node: Node) -> None:
    y, out = work.homes[node.outputs[0]], work.shapes[node.outputs[0]]
    chosen = operands([work.shapes[v] for v in node.inputs], out)
    made = {i: _repeated(work, node, node.inputs[i]) for i in chosen.copied}
    x = made.get(chosen.x) or work.nhwc(node.inputs[chosen.x], node)
    params = fields.arith(op, out, exchanged=chosen.x == 1) | lds(x, y) | fields.act_fields(op)
    if isinstance(op.other, Source):
        shape = spread(op.other_shape(work.tensors), out)
        params |= fields.repeats(shape, out, Rows.of(shape).c)
        work.emit("arith", node, params, x, y, weighted=True)
    elif op.other is not None:
        work.emit("arith", node, {**params, "scalar": float(op.other)}, x, y)
    else:
        at = 1 - chosen.x
        r = made.get(at) or work.nhwc(node.inputs[at], node)
        shape = out if at in made else work.shapes[node.inputs[at]]
        work.emit("arith", node, params | fields.repeats(shape, out, r.ld), x, y, r)


def _repeated(work: Lowering, node: Node, value: int) -> Home:
    """A copy of the value in the result's shape."""
    x, shape, out = work.homes[value], work.shapes[value], work.shapes[node.outputs[0]]
    moves = (Reshape((1,) * (len(out) - len(shape)) + tuple(shape)), Expand(tuple(out)))
    x, view = through(work, node, x, View.of(shape, x.ld, x.nchw), moves)
    rows = Rows.of(out)
    made = work.buffer(rows.count * rows.c, rows.c)
    work.emit(
        "rearrange", node, rearrange(view.onto(strides(out, rows.c))), starting(x, view), made
    )
    return made
