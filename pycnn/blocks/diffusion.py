"""Blocks of diffusion networks: residuals which know the time step, and self-attention over the pixels.

"Denoising Diffusion Probabilistic Models", Ho, Jain, Abbeel 2020 (arXiv 2006.11239). Keys are diffusers'.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.blocks.fused import attended, fused, fused_add


class TimestepEmbedding(nn.Module):
    """Two linear layers with SiLU between: [n, in_width] -> [n, width]; keys "linear_1.*", "linear_2.*"."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_width, width)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.linear_1, self.act, self.linear_2)


class ResidualBlock(nn.Module):
    """shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time))): [n, in, h, w], [n, time] -> [n, out, h, w].

    Keys "norm1.*", "conv1.*", "time_emb_proj.*", "norm2.*", "conv2.*", and "conv_shortcut.*" where in != out.

    Args:
        in_channels, out_channels: of the maps.
        time_width: of the time embedding.
        groups: of the group-norms; divides both numbers of channels.
        eps: of the group-norms.
        drop_rate: of the dropout before the second convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_width: int,
        groups: int = 32,
        eps: float = 1e-5,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(drop_rate)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nonlinearity = nn.SiLU()
        self.conv_shortcut: nn.Conv2d | None = None
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = fused(x, self.norm1, self.nonlinearity, self.conv1)
        y = y + fused(self.nonlinearity(time), self.time_emb_proj)[:, :, None, None]
        layers = (self.norm2, self.nonlinearity, self.dropout, self.conv2)
        if self.training:  # as diffusers: gradients in other strides than the weights' disturb DDP
            if self.conv_shortcut is not None:
                x = self.conv_shortcut(x.contiguous())
            return x + fused(y, *layers)
        if self.conv_shortcut is not None:
            x = fused(x, self.conv_shortcut)
        return fused_add(y, *layers, residual=x)


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), each pixel looking at all others: [n, channels, h, w] -> the same shape.

    `ops.attention` on [n, h w, channels].
    Keys "group_norm.*", "to_q.*", "to_k.*", "to_v.*", "to_out.0.*".

    Args:
        channels: of x.
        head_width: channels a head; divides channels; None: one head.
        groups, eps: of the group-norm.

    Raises:
        ValueError: head_width does not divide channels.
    """

    def __init__(
        self, channels: int, head_width: int | None = None, groups: int = 32, eps: float = 1e-5
    ) -> None:
        super().__init__()
        head_width = channels if head_width is None else head_width
        if channels % head_width:
            raise ValueError(f"attention: head_width={head_width} does not divide {channels}")
        self.heads = channels // head_width
        self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        pixels = fused(x.reshape(n, c, h * w), self.group_norm).transpose(1, 2)
        q, k, v = (fused(pixels, layer) for layer in (self.to_q, self.to_k, self.to_v))
        y = fused(attended(q, k, v, self.heads), self.to_out[0])
        return y.transpose(1, 2).reshape(n, c, h, w) + x


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2: [n, channels, h, w] -> [n, channels, h/2, w/2]; keys "conv.*".

    `pads_both` puts one row and column of zeros on each side; else, as in DDPM's own code, only below and right.
    """

    def __init__(self, channels: int, pads_both: bool = True) -> None:
        super().__init__()
        self.pads_both = pads_both
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if pads_both else 0)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x if self.pads_both else F.pad(x, (0, 1, 0, 1)), self.conv)


class Upsample(nn.Module):
    """Each pixel four times, then a 3x3 convolution: [n, channels, h, w] -> [n, channels, 2h, 2w]; keys "conv.*"."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return fused(F.interpolate(x, scale_factor=2.0, mode="nearest"), self.conv)
