"""The U-Net of diffusion models: "Denoising Diffusion Probabilistic Models", Ho, Jain, Abbeel 2020 (2006.11239).

State_dict keys and initialisation are those of diffusers' `UNet2DModel`; `diffusion_unet` has the sizes of
google/ddpm-cifar10-32, whose file loads as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pycnn.blocks.diffusion import (
    AttentionBlock,
    Downsample,
    ResidualBlock,
    TimestepEmbedding,
    Upsample,
)
from pycnn.blocks.fused import concat, fused
from pycnn.ops import timestep_embedding
from pycnn.registry import Family, Paper, model

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Settings:
    """What all blocks of one network share."""

    time_width: int
    groups: int
    eps: float
    drop_rate: float
    head_width: int | None

    def residual(self, c: int, k: int) -> ResidualBlock:
        return ResidualBlock(c, k, self.time_width, self.groups, self.eps, self.drop_rate)

    def attention(self, c: int) -> AttentionBlock:
        return AttentionBlock(c, self.head_width, self.groups, self.eps)


class Level(nn.Module):
    """Residual blocks of one resolution, of (in, out) channels each, every one followed by attention or none."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], attends: bool, settings: Settings
    ) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(), nn.ModuleList()
        for c, k in widths:
            self.resnets.append(settings.residual(c, k))
            if attends:
                self.attentions.append(settings.attention(k))

    def step(self, i: int, x: Tensor, time: Tensor) -> Tensor:
        """The i-th residual block and its attention."""
        y: Tensor = self.resnets[i](x, time)
        return self.attentions[i](y) if len(self.attentions) else y


class DownLevel(Level):
    """[n, c, h, w] -> every map on the way, the last half as high and wide unless it is the last level."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], attends: bool, settings: Settings
    ) -> None:
        super().__init__(widths, attends, settings)
        self.downsamplers = nn.ModuleList()

    def forward(self, x: Tensor, time: Tensor) -> list[Tensor]:
        maps = []
        for i in range(len(self.resnets)):
            x = self.step(i, x, time)
            maps.append(x)
        return maps + [layer(x) for layer in self.downsamplers]


class UpLevel(Level):
    """[n, c, h, w] and the maps of the way down, the last one first -> [n, k, 2h, 2w], or h, w at the last level."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], attends: bool, settings: Settings
    ) -> None:
        super().__init__(widths, attends, settings)
        self.upsamplers = nn.ModuleList()

    def forward(self, x: Tensor, time: Tensor, maps: list[Tensor]) -> Tensor:
        for i in range(len(self.resnets)):
            x = self.step(i, concat([x, maps.pop()]), time)
        for layer in self.upsamplers:
            x = layer(x)
        return x


class Middle(nn.Module):
    """Residual, attention, residual at the lowest resolution: [n, c, h, w] -> the same shape."""

    def __init__(self, c: int, settings: Settings) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([settings.residual(c, c)])
        self.attentions = nn.ModuleList([settings.attention(c)])
        self.resnets.append(settings.residual(c, c))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x, time)), time)
        return y


class DiffusionUNet(nn.Module):
    """The noise in an image at a time step: [n, in_channels, h, w], time steps [n] -> [n, in_channels, h, w].

    h and w are multiples of 2^(levels - 1).

    Args:
        in_channels: channels of the image.
        channels: of each level, the highest resolution first.
        attention: which levels have self-attention; the middle always has it.
        layers: residual blocks a level on the way down; one more on the way up.
        head_width: channels of one attention head; None: one head.
        groups, eps: of the group-norms; groups divides all channels.
        drop_rate: of the dropout inside the residual blocks.
        pads_both: pad both sides where resolution is halved, instead of only below and right.
        cosine_first, shift: of `ops.timestep_embedding`.

    Raises:
        ValueError: `channels` and `attention` differ in length, or groups or head_width does not divide.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (128, 256, 256, 256),
        attention: Sequence[bool] = (False, True, False, False),
        layers: int = 2,
        head_width: int | None = None,
        groups: int = 32,
        eps: float = 1e-6,
        drop_rate: float = 0.0,
        pads_both: bool = False,
        cosine_first: bool = False,
        shift: float = 1.0,
    ) -> None:
        super().__init__()
        if len(channels) != len(attention):
            raise ValueError(
                f"diffusion_unet: {len(channels)} levels of channels, {len(attention)} of attention"
            )
        c, time_width = channels[0], 4 * channels[0]
        settings = Settings(time_width, groups, eps, drop_rate, head_width)
        self.embed_width, self.cosine_first, self.shift = c, cosine_first, shift
        self.conv_in = nn.Conv2d(in_channels, c, 3, padding=1)
        self.time_embedding = TimestepEmbedding(c, time_width)
        self.down_blocks = _way_down(channels, attention, layers, settings, pads_both)
        self.mid_block = Middle(channels[-1], settings)
        self.up_blocks = _way_up(channels, attention, layers + 1, settings)
        self.conv_norm_out = nn.GroupNorm(groups, c, eps)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(c, in_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor | int) -> Tensor:
        """`time`: an int, or a tensor of one element or n."""
        steps = time if isinstance(time, Tensor) else torch.tensor(time, device=x.device)
        steps = steps[None] if steps.dim() == 0 else steps
        waves = timestep_embedding(
            steps, self.embed_width, cosine_first=self.cosine_first, shift=self.shift
        )
        embedding = self.time_embedding(waves.to(x.dtype))
        x = fused(x, self.conv_in)
        maps = [x]
        for level in self.down_blocks:
            maps += level(maps[-1], embedding)
        x = self.mid_block(maps[-1], embedding)
        for level in self.up_blocks:
            x = level(x, embedding, maps)
        return fused(x, self.conv_norm_out, self.conv_act, self.conv_out)

    @staticmethod
    def current_key(key: str) -> str:
        """The present name of a key: files written before diffusers 0.17 name attention's layers otherwise."""
        head, _, last = key.rpartition(".")
        path, _, layer = head.rpartition(".")
        return f"{path}.{OLD_NAMES[layer]}.{last}" if layer in OLD_NAMES else key


def _way_down(
    channels: Sequence[int],
    attention: Sequence[bool],
    n: int,
    settings: Settings,
    pads_both: bool,
) -> nn.ModuleList:
    levels, c = nn.ModuleList(), channels[0]
    for i, k in enumerate(channels):
        last = i == len(channels) - 1
        widths = [(c, k)] + [(k, k)] * (n - 1)
        level = DownLevel(widths, attention[i], settings)
        if not last:
            level.downsamplers.append(Downsample(k, pads_both))
        levels.append(level)
        c = k
    return levels


def _way_up(
    channels: Sequence[int], attention: Sequence[bool], n: int, settings: Settings
) -> nn.ModuleList:
    levels, c = nn.ModuleList(), channels[-1]
    for i in reversed(range(len(channels))):
        k = channels[i]
        below = channels[max(i - 1, 0)]  # the level's first map came from there
        joined = [k] * (n - 1) + [below]
        widths = [((c if j == 0 else k) + joined[j], k) for j in range(n)]
        level = UpLevel(widths, attention[i], settings)
        if i > 0:
            level.upsamplers.append(Upsample(k))
        levels.append(level)
        c = k
    return levels


DDPM = Family(
    "diffusion_unet",
    Paper("Denoising Diffusion Probabilistic Models", "Ho, Jain, Abbeel", 2020, "2006.11239"),
    image_size=(32, 32),
    num_classes=None,
    task="generation",
    extra_inputs=(500,),
)
model("diffusion_unet", DDPM)(DiffusionUNet)
