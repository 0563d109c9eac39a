"""torch's own convolution as a kernel of a CUDA plan: cuDNN's, or a product of rows, then one launch of ours.

It makes a dense tensor of torch's allocator; bias, residual and activation, in fp32, and the slice that the result may
be come with a 1x1 depthwise convolution whose weights are ones. Max-pooling comes before them, as in conv2d_pool; a
norm or a gate before the convolution is torch's too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops.act import ACTS, apply_act
from pycnn.planning.arena import Slot
from pycnn.planning.params import GATE, NORM, Params

OPS = ("conv2d", "conv2d_pool", "conv2d_sums", "conv2d_layer_norm", "conv_transpose2d")
_LAST = ("ldr", "ldy", "act", "act_param", "sums", "parts", "eps")  # of the launch that follows
_DEFAULTS: Mapping[str, int] = {
    **dict.fromkeys(("n", "h", "w", "c", "k", "kh", "kw", "oh", "ow", "sh", "sw", "dh", "dw"), 1),
    **dict.fromkeys(("ph", "pw", "x_nchw", "prologue", "prologue_act"), 0),
    **dict.fromkeys(("groups", "window", "stride"), 1),
    **dict.fromkeys(("pad", "pooled_h", "pooled_w"), 0),  # no pooled map
}


def kernel_of(op: str) -> str:
    """Its name among the kernels of the op."""
    return f"{op}_torch"


def is_own(kernel: str) -> bool:
    return kernel in map(kernel_of, OPS)


def sizes(params: Params) -> dict[str, int]:
    """The parameters of a convolution, none left out."""
    return {name: int(params.get(name, value)) for name, value in _DEFAULTS.items()}


def takes(op: str, params: Params) -> bool:
    """Whether torch's function has these parameters: padding is the same on both sides."""
    if op not in OPS:
        return False
    p = sizes(params)
    if p["x_nchw"] or min(p["ph"], p["pw"], *(p[s] - 1 for s in ("n", "h", "w", "oh", "ow"))) < 0:
        return False
    if op == "conv_transpose2d":
        return all(0 <= extra < stride for extra, stride in _output_padding(p))
    if op == "conv2d_pool" and not any(_pooled(p, ceil) for ceil in (False, True)):
        return False
    return all(
        (p[size] + 2 * p[pad] - p[step] * (p[kernel] - 1) - 1) // p[stride] + 1 == p[out]
        for size, out, kernel, stride, pad, step in (
            ("h", "oh", "kh", "sh", "ph", "dh"),
            ("w", "ow", "kw", "sw", "pw", "dw"),
        )
    )


def _pooled(p: Mapping[str, int], ceil: bool) -> bool:
    """Whether torch's max-pooling has that many windows, those that hang over the map among them or not."""
    hanging = p["stride"] - 1 if ceil else 0
    for size, out in (("oh", "pooled_h"), ("ow", "pooled_w")):
        count = (p[size] + 2 * p["pad"] + hanging - p["window"]) // p["stride"] + 1
        if ceil and (count - 1) * p["stride"] >= p[size] + p["pad"]:
            count -= 1
        if count != p[out]:
            return False
    return True


def _output_padding(p: Mapping[str, int]) -> list[tuple[int, int]]:
    """What torch calls so, of each axis, and the stride."""
    return [
        (p[o] - (p[i] - 1) * p[s] + 2 * p[pad] - p[d] * (p[k] - 1) - 1, p[s])
        for i, o, k, s, pad, d in (
            ("h", "oh", "kh", "sh", "ph", "dh"),
            ("w", "ow", "kw", "sw", "pw", "dw"),
        )
    ]


def _has_norm(op: str, params: Params) -> bool:
    """Whether a scale and a shift of each channel come behind the weights."""
    return params.get("prologue") == NORM or op == "conv2d_layer_norm"


def pack(
    op: str, params: Params, weight: Tensor, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Weights as torch's convolution of NHWC wants them; with those of a norm all in fp32, as they come."""
    if _has_norm(op, params):
        return weight.to(device, torch.float32)
    if weight.dim() != 4:
        weight = weight.reshape(*weight.shape, *[1] * (4 - weight.dim()))
    return weight.to(device, dtype, memory_format=torch.channels_last)


def result_bytes(params: Params, itemsize: int) -> int:
    """Of the tensors that torch makes."""
    p = sizes(params)
    made = p["k"] * (p["oh"] * p["ow"] + p["pooled_h"] * p["pooled_w"])
    changed = p["c"] * p["h"] * p["w"] if p["prologue"] else 0
    return p["n"] * (made + changed) * itemsize


def epilogue(op: str, params: Params) -> tuple[str, Params]:
    """The convolution of ones that follows, with its sums or its layer norm where they are wanted."""
    p = sizes(params)
    h, w = (p["pooled_h"], p["pooled_w"]) if p["pooled_h"] else (p["oh"], p["ow"])
    same = {"n": p["n"], "h": h, "w": w, "oh": h, "ow": w}
    channels = {"c": p["k"], "k": p["k"], "groups": p["k"], "ldx": p["k"]}
    kept = {name: v for name, v in params.items() if name in _LAST}
    last = op if op in ("conv2d_sums", "conv2d_layer_norm") else "conv2d"
    return last, {**same, **channels, **kept}


def ones(op: str, params: Params, packed: Tensor) -> Tensor:
    """Its weights, with those of the layer norm, which `pack` kept."""
    k = int(params["k"])
    made = torch.ones(k, device=packed.device)
    return torch.cat([made, packed[-2 * k :]]) if op == "conv2d_layer_norm" else made


def flat(slot: Slot, memory: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """The elements of memory that begin at a slot."""
    kind, at = slot[0], slot[1]
    if kind == "arena":
        return memory[at // memory.element_size() :]
    tensor = (inputs if kind == "input" else outputs)[at]
    first = slot[2] // tensor.element_size() if len(slot) > 2 else 0
    return tensor.as_strided((tensor.numel() - first,), (1,), tensor.storage_offset() + first)


@dataclass(frozen=True)
class OwnConvolution:
    """One step's: `x` is the slot it reads, in pixels of params' ldx elements; `norm`: what F.batch_norm takes; `gate`:
    the slot of an image's factors, in rows of ldg."""

    op: str
    params: Params
    x: Slot
    weight: Tensor
    norm: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
    gate: Slot | None = None

    @staticmethod
    def of(
        op: str, params: Params, slots: Sequence[Slot], packed: Tensor, dtype: torch.dtype
    ) -> OwnConvolution:
        """With the operands of a draft's step, and weights that `pack` made."""
        x, gate = slots[0], slots[-1] if params.get("prologue") == GATE else None
        if not _has_norm(op, params):
            return OwnConvolution(op, params, x, packed, gate=gate)
        p = sizes(params)
        shape = p["k"], p["c"] // p["groups"], p["kh"], p["kw"]
        weight, rest = packed[: math.prod(shape)], packed[math.prod(shape) :]
        weight = weight.view(shape).to(dtype, memory_format=torch.channels_last)
        if op == "conv2d_layer_norm":
            return OwnConvolution(op, params, x, weight)
        scale, shift = rest.chunk(2)
        norm = torch.zeros_like(scale), torch.ones_like(scale), scale, shift
        return OwnConvolution(op, params, x, weight, norm)

    def __call__(
        self, memory: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> Tensor:
        """The sums before bias, residual and activation, or the largest of them: [n, k, oh, ow] in NHWC, dense."""
        p, ld = sizes(self.params), int(self.params["ldx"])
        n, c, h, w = (p[name] for name in ("n", "c", "h", "w"))
        x = flat(self.x, memory, inputs, outputs)
        x = x.as_strided((n, c, h, w), (h * w * ld, 1, w * ld, ld))
        if self.norm is not None:
            x = F.batch_norm(x, *self.norm, eps=0.0)
            x = apply_act(x, [*ACTS][p["prologue_act"]])
        if self.gate is not None:
            gate = flat(self.gate, memory, inputs, outputs)
            x = x * gate.as_strided((n, c, 1, 1), (int(self.params["ldg"]), 1, 1, 1))
        if self._is_product(p):
            return F.linear(x.flatten(1), self.weight.flatten(1)).view(n, p["k"], 1, 1)
        strides, pads, steps = ((p[a], p[b]) for a, b in (("sh", "sw"), ("ph", "pw"), ("dh", "dw")))
        if self.op == "conv_transpose2d":
            extra = tuple(extra for extra, _ in _output_padding(p))
            groups = p["groups"]
            y = F.conv_transpose2d(x, self.weight, None, strides, pads, extra, groups, steps)
        else:
            y = F.conv2d(x, self.weight, None, strides, pads, steps, p["groups"])
        if self.op == "conv2d_pool":
            ceil = not _pooled(p, False)
            y = F.max_pool2d(y, p["window"], p["stride"], p["pad"], ceil_mode=ceil)
        return y.contiguous(memory_format=torch.channels_last)

    def _is_product(self, p: Mapping[str, int]) -> bool:
        """A fully connected layer."""
        ones = ("h", "w", "oh", "ow", "kh", "kw", "groups")
        return self.op == "conv2d" and all(p[name] == 1 for name in ones) and not p["ph"] | p["pw"]
