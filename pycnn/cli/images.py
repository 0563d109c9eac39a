"""Pictures in files as tensors and back, for `pycnn run`. Needs pillow."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pycnn.extras import load_extra
from pycnn.files import whole_file

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes a network's input.

    Attributes:
        channels: 1 or 3; a grey picture is repeated for 3.
        size: (h, w) it is resized to; None leaves it.
        crop: keep the sides' ratio: the shorter side is resized and the middle taken. Else the picture is stretched.
        white: the value of white; black is 0.
        mean, std: subtracted, then divided by, per channel; in units of white = 1.
    """

    channels: int
    size: tuple[int, int] | None
    crop: bool
    white: float
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def load_pillow() -> Any:
    """The module PIL.Image. Raises MissingExtraError."""
    return load_extra("PIL.Image", "pillow", "run")


def find_images(given: Sequence[Path]) -> list[Path]:
    """The files given, and those of the folders given, which are not searched deeper.

    Raises:
        ValueError: a folder without pictures. FileNotFoundError: no such file.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"there is no {', '.join(SUFFIXES)} file in the folder {path}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no file {path}")
    return found


def check_image(path: Path, channels: int, name: str) -> None:
    """Read the header only.

    Raises:
        ValueError: not a picture, or one of other channels than the network `name` takes.
    """
    with _opened(path) as image:
        mode = _plain_mode(image)
    count = {"L": 1, "RGB": 3}.get(mode, len(mode))
    if mode == "L" or (mode == "RGB" and channels == 3):
        return
    takes = "3, or grey" if channels == 3 else str(channels)
    raise ValueError(f"{path} has {count} channels ({image.mode}), {name} takes {takes}")


def read_image(path: Path, how: Preparation) -> Tensor:
    """[channels, h, w] of fp32. Raises ValueError: the file is not whole."""
    with _opened(path) as image:
        try:
            wide = image.mode.startswith("I;16")
            upright = load_extra("PIL.ImageOps", "pillow", "run").exif_transpose(image)
            # 16 bits by way of I to F, which pillow can resize
            plain = (
                upright.convert("I").convert("F") if wide else upright.convert(_plain_mode(image))
            )
            pixels = _resized(plain, how)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be read to its end: {error}") from None
    x = torch.from_numpy(np.array(pixels, dtype=np.float32)) / (65535 if wide else 255)
    x = x[None] if x.dim() == 2 else x.permute(2, 0, 1)
    x = x.expand(how.channels, -1, -1)
    if how.mean is not None:
        x = x - torch.tensor(how.mean)[:, None, None]
    if how.std is not None:
        x = x / torch.tensor(how.std)[:, None, None]
    return (x * how.white).contiguous()


def write_colours(path: Path, x: Tensor) -> None:
    """[1 or 3, h, w], black 0 and white 1, as an 8-bit PNG."""
    pixels = (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2)
    _write(path, load_pillow().fromarray(np.ascontiguousarray(pixels.numpy())))


def write_classes(path: Path, classes: Tensor) -> None:
    """[h, w] of class numbers below 256 as a PNG with a palette: the pixel is the class, black class 0."""
    image = load_pillow().fromarray(classes.byte().numpy())
    golden = (
        0.618033988749895  # of the circle of hues: neighbours in number are far apart in colour
    )
    colours = [colorsys.hsv_to_rgb(i * golden % 1, 0.75, 0.95) for i in range(256)]
    colours[0] = (0.0, 0.0, 0.0)
    image.putpalette([round(255 * part) for colour in colours for part in colour])
    _write(path, image)


def _write(path: Path, image: Any) -> None:
    with whole_file(path) as file:
        image.save(file, format="PNG")


def _opened(path: Path) -> Any:
    pillow = load_pillow()
    try:
        return pillow.open(path)
    except pillow.UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture that pillow can read") from None
    except pillow.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error}") from None


def _plain_mode(image: Any) -> str:
    """L, RGB or what has other channels, such as RGBA and CMYK."""
    if image.mode in ("1", "L") or image.mode.startswith("I;16"):
        return "L"
    if image.mode == "P":
        return "RGBA" if "transparency" in image.info else "RGB"
    return str(image.mode)


def _resized(image: Any, how: Preparation) -> Any:
    if how.size is None:
        return image
    h, w = how.size
    bilinear = load_pillow().Resampling.BILINEAR
    if not how.crop:
        return image.resize((w, h), bilinear)
    scale = max(w / image.width, h / image.height)  # of the largest middle with the sides' ratio
    across, down = w / scale, h / scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((w, h), bilinear, box=(left, top, left + across, top + down))
