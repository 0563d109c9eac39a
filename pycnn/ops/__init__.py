"""Fused functional ops: our kernels for fp32 on the CPU, torch's own composition for everything else."""

from pycnn.ops.act import ACTS, apply_act
from pycnn.ops.add_act import add_act
from pycnn.ops.arith import arith, channel_gate, prelu, squeeze_excite
from pycnn.ops.attention import attention
from pycnn.ops.concat import concat
from pycnn.ops.conv2d import conv2d, conv_bn_act
from pycnn.ops.conv_transpose2d import conv_transpose2d
from pycnn.ops.elementwise import elementwise
from pycnn.ops.global_pool import global_avg_pool2d
from pycnn.ops.group_norm import group_norm
from pycnn.ops.layer_norm import layer_norm
from pycnn.ops.linear import linear
from pycnn.ops.local_response_norm import local_response_norm
from pycnn.ops.matmul import matmul
from pycnn.ops.pool2d import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    max_pool2d,
)
from pycnn.ops.rearrange import channel_shuffle, pixel_shuffle, pixel_unshuffle
from pycnn.ops.softmax import softmax
from pycnn.ops.timestep_embedding import timestep_embedding
from pycnn.ops.upsample import upsample

__all__ = [
    "ACTS",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "add_act",
    "apply_act",
    "arith",
    "attention",
    "avg_pool2d",
    "channel_gate",
    "channel_shuffle",
    "concat",
    "conv2d",
    "conv_bn_act",
    "conv_transpose2d",
    "elementwise",
    "global_avg_pool2d",
    "group_norm",
    "layer_norm",
    "linear",
    "local_response_norm",
    "matmul",
    "max_pool2d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "softmax",
    "squeeze_excite",
    "timestep_embedding",
    "upsample",
]
