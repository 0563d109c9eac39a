"""Pictures of random pixels, networks with a file of their weights, and `pycnn run` on both."""

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import pycnn
from pycnn import cli
from pycnn.cli.target import MEAN, STD


def run(*arguments):
    return CliRunner().invoke(cli.app, ["run", *map(str, arguments)])


def picture(path, h=32, w=32, channels=3, seed=0):
    shape = (h, w) if channels == 1 else (h, w, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels.reshape(h, w, channels)).permute(2, 0, 1)[None].double() / 255


def standardised(x):
    mean, std = (torch.tensor(v, dtype=x.dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def model(tmp_path, name, **options):
    """A network and the file of its weights."""
    torch.manual_seed(7)
    net = pycnn.create_model(name, **options).eval()
    path = tmp_path / f"{name}.safetensors"
    save_file(net.state_dict(), path)
    return net, path
