"""Weights folded and packed for the kernel that reads them, shared by every plan of a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pycnn.ir import (
    Arith,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Excitation,
    GroupNorm,
    InvertedResidual,
    LayerNorm,
    Linear,
    MatMul,
    Mlp,
    Node,
    Norm,
    NormedConv2d,
    Op,
    PooledConv2d,
    Source,
    StoredWeights,
    SummedConv2d,
    TensorTable,
    TimestepEmbedding,
    folded_bias,
    folded_weight,
    packing,
    sources,
)
from pycnn.ops.timestep_embedding import frequencies
from pycnn.planning.params import Params
from pycnn.planning.step import Packed
from pycnn.planning.target import Target

# First row and column, rows and columns of the part of a convolution's window that sees the map.
Taps = tuple[int, ...]
# Value the node makes, kernel, x_nchw, the part of a window, or the pixels over which an operand is spread.
Key = tuple[int, str, int, Taps]
Wanted = tuple[Node, str, str, Params]  # arguments of `Weights.get`


def _key(node: Node, op: str, kernel: str, params: Params) -> Key:
    return node.outputs[0], kernel, int(params.get("x_nchw", 0)), _taps(node, params)


def _taps(node: Node, params: Params) -> Taps:
    """What planning/params.py kept of a convolution's window, or the pixels of an operand that does not repeat them."""
    op = _layer(node)
    if isinstance(op, Arith) and params.get("bp"):
        return (int(params["pixels"]),)
    if not isinstance(op, Conv2d) or "kh" not in params:
        return ()
    pads = zip(("ph", "pw"), op.padding[:2], op.dilation, strict=True)
    first = [(pad - int(params[name])) // step for name, pad, step in pads]
    return (*first, int(params["kh"]), int(params["kw"]))


_WHOLE = (NormedConv2d, PooledConv2d, SummedConv2d)  # a convolution and something more
_LAYERS = (Conv2d, ConvTranspose2d, Linear)  # whose weights are worth a place in a file


def _layer(node: Node) -> Op:
    """The op with the weights."""
    return node.op.conv if isinstance(node.op, _WHOLE) else node.op


class Weights:
    """Cache of weights packed as `target` reads them; immutable entries, so that running plans never see one change.
    `stored`: those that need no packing while they hold."""

    def __init__(
        self, tensors: TensorTable, target: Target, stored: StoredWeights | None = None
    ) -> None:
        self._tensors, self._target, self._stored = tensors, target, stored
        self._packed: dict[Key, tuple[Node, Packed]] = {}
        self._lock = threading.Lock()

    def get(self, node: Node, op: str, kernel: str, params: Params) -> Packed:
        """The node's weights for `kernel` of `op`, folded and packed if they are not yet."""
        return self._get((node, op, kernel, params), _key(node, op, kernel, params))

    def _get(self, wanted: Wanted, key: Key) -> Packed:
        with self._lock:
            found = self._packed.get(key)
        if found is not None:
            return found[1]
        made = self._pack(*wanted)
        with self._lock:
            return self._packed.setdefault(key, (wanted[0], made))[1]

    def get_all(self, wanted: Sequence[Wanted], threads: int) -> list[Packed]:
        """`get` of each; those that are missing on several threads: they fold and pack with the GIL released."""
        keys = [_key(*one) for one in wanted]
        with self._lock:
            missing = {k: one for k, one in zip(keys, wanted, strict=True) if k not in self._packed}
        if len(missing) > 1 and threads > 1:
            with ThreadPoolExecutor(threads) as workers:
                list(workers.map(self._get, missing.values(), missing))
        return [self._get(*one) for one in zip(wanted, keys, strict=True)]

    def without(self, changed: set[str]) -> Weights:
        """A cache that keeps what does not depend on the tensors with these names."""
        kept = Weights(self._tensors, self._target, self._stored)
        with self._lock:
            kept._packed = {
                key: (node, packed)
                for key, (node, packed) in self._packed.items()
                if not any(source.name in changed for source in sources(node.op))
            }
        return kept

    def keep_only(self, used: Sequence[Tensor]) -> None:
        """Forget packed weights that are not among these."""
        ids = {id(tensor) for tensor in used}
        with self._lock:
            self._packed = {
                key: held for key, held in self._packed.items() if id(held[1].weight) in ids
            }

    def bytes(self) -> int:
        """Memory of the packed weights."""
        return sum(packed.weight.nbytes for _, packed in self._packed.values())

    def to_store(self, name: Callable[[Source], str]) -> Iterator[tuple[str, Tensor]]:
        """The packed weights of layers as StoredWeights takes them; `name`: of a tensor where they are stored."""
        with self._lock:
            held = [*self._packed.items()]
        for (_, *how), (node, packed) in held:
            if isinstance(node.op, _LAYERS):
                yield packing(node.op, (*how,), self._tensors, name), packed.weight

    def _stored_layer(self, node: Node, name: str, kernel: str, params: Params) -> Packed | None:
        op, size = node.op, self._target.packed_bytes(name, kernel, params)
        if self._stored is None or not isinstance(op, _LAYERS) or size == 0:
            return None
        _, *how = _key(node, name, kernel, params)
        digest = packing(op, (*how,), self._tensors, lambda source: source.name)
        weight = self._stored.find(digest, op, self._tensors, size)
        if weight is None:
            return None
        bias = folded_bias(op, self._tensors, self._target.device)
        return Packed(weight, None if bias is None else self._target.bias(bias))

    def _pack(self, node: Node, name: str, kernel: str, params: Params) -> Packed:
        stored = self._stored_layer(node, name, kernel, params)
        if stored is not None:
            return stored
        op, target = _layer(node), self._target
        bias: Tensor | None
        if isinstance(op, Arith):
            assert isinstance(op.other, Source)
            other = self._tensors[op.other].detach().reshape(op.other_shape(self._tensors))
            return Packed(target.operand(_rows_of(other, op.rank, _taps(node, params))), None)
        if isinstance(op, MatMul):
            assert op.added is not None
            return Packed(target.operand(self._tensors[op.added].detach()), None)
        if isinstance(op, BatchNorm):
            weight, bias = _scale_shift(op.norm, self._tensors)
        elif isinstance(op, (Excitation, InvertedResidual, Mlp)):
            weight, bias = _all_layers(op.layers, self._tensors), None
        elif isinstance(op, TimestepEmbedding):
            weight, bias = frequencies(op.width, op.shift), None
        elif isinstance(op, (GroupNorm, LayerNorm)):
            assert op.weight is not None
            weight = self._tensors[op.weight]
            bias = None if op.bias is None else self._tensors[op.bias]
        else:
            assert isinstance(op, (Conv2d, ConvTranspose2d, Linear))
            weight, bias = folded_weight(op, self._tensors)
        if isinstance(op, Conv2d) and (taps := _taps(node, params)):
            y, x, kh, kw = taps
            weight = weight[:, :, y : y + kh, x : x + kw]
        if isinstance(op, Conv2d) and op.prologue is not None:
            scale, shift = _scale_shift(op.prologue.norm, self._tensors)
            weight = torch.cat([weight.detach().float().flatten(), scale.flatten(), shift])
        if isinstance(node.op, NormedConv2d):
            weight = torch.cat(
                [weight.float().flatten(), *self._affine(node.op.norm, weight.device)]
            )
        packed = target.pack(name, kernel, params, weight.detach().contiguous())
        return Packed(packed, None if bias is None else target.bias(bias.detach()))

    def _affine(self, norm: LayerNorm, device: torch.device) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer norm, 1 and 0 where it has none."""
        weight, bias = (None if s is None else self._tensors[s] for s in (norm.weight, norm.bias))
        weight = torch.ones(norm.c, device=device) if weight is None else weight.detach().float()
        return weight, torch.zeros_like(weight) if bias is None else bias.detach().float()


def _rows_of(t: Tensor, rank: int, pixels: Taps) -> Tensor:
    """t with its axes filled up to `rank`, in NHWC order; where it has one image axis, with both of so many pixels."""
    t = t.reshape((1,) * (rank - t.dim()) + tuple(t.shape))
    if rank != 4:
        return t
    n, c, h, w = t.shape
    if pixels and h * w != pixels[0]:
        t = t.expand(n, c, h if h > 1 else pixels[0] // w, w if w > 1 else pixels[0] // h)
    return t.permute(0, 2, 3, 1)


def _all_layers(layers: Sequence[Conv2d], tensors: TensorTable) -> Tensor:
    """Weights and biases of each, as csrc/ops/excitation/excitation.h has them."""
    parts: list[Tensor] = []
    for layer in layers:
        weight, bias = folded_weight(layer, tensors)
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        parts += [weight.float().flatten(), bias.float()]
    return torch.cat(parts)


def _scale_shift(norm: Norm, tensors: TensorTable) -> tuple[Tensor, Tensor]:
    """A batch norm as a 1x1 depthwise convolution: weight [c, 1, 1, 1] and bias [c], from fp64."""
    scale = (tensors[norm.var].double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * tensors[norm.weight].detach().double()
    shift = -tensors[norm.mean].double() * scale
    if norm.bias is not None:
        shift = shift + tensors[norm.bias].detach().double()
    return scale.float().reshape(-1, 1, 1, 1), shift.float()
