"""Layer shapes of networks as data: `bench/shapes/<network>.txt`, one line a distinct layer, for speed and correctness.

    python -m bench shapes [NETWORK ...]       writes the files anew from the captured graphs

The columns are named in the file's header line. `op`: conv2d or linear (h rows of c values). `times`: how often the
network has it; `name`: the module path of the first. `top left bottom right`: padding. `nchw`: 1 if it reads the
network's own input. `residual`: 1 if a tensor is added before the activation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import torch

from pycnn.files import write_text
from pycnn.frontend import capture
from pycnn.ir import Conv2d, Graph, Linear, Shape, infer_shapes, resolve
from pycnn.models import create_model
from pycnn.passes import run_passes
from pycnn.registry import find_model

FOLDER = Path(__file__).parent / "shapes"
NETWORKS = (
    "lenet_like", "small_cnn", "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121",
    "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny", "unet", "deeplabv3_mobilenet_v3_large",
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One distinct convolution or linear layer of a network, at one image; see the module's docstring."""

    name: str
    times: int
    op: str
    h: int
    w: int
    c: int
    k: int
    kh: int = 1
    kw: int = 1
    sh: int = 1
    sw: int = 1
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0
    dh: int = 1
    dw: int = 1
    groups: int = 1
    nchw: int = 0
    residual: int = 0
    act: str = "none"

    @property
    def out(self) -> tuple[int, int]:
        """(oh, ow)."""
        oh = (self.h + self.top + self.bottom - self.dh * (self.kh - 1) - 1) // self.sh + 1
        ow = (self.w + self.left + self.right - self.dw * (self.kw - 1) - 1) // self.sw + 1
        return oh, ow

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """As torch has it."""
        window = (self.kh, self.kw) if self.op == "conv2d" else ()
        return (self.k, self.c // self.groups, *window)

    def flops(self, batch: int) -> int:
        """Operations of direct convolution, a multiply-add being two."""
        oh, ow = self.out
        return 2 * batch * oh * ow * self.k * (self.c // self.groups) * self.kh * self.kw

    def moved_bytes(self, batch: int) -> int:
        """Bytes of input, weights, bias, residual and output, each once."""
        oh, ow = self.out
        maps = batch * (self.h * self.w * self.c + (1 + self.residual) * oh * ow * self.k)
        return 4 * (maps + self.k * (self.c // self.groups) * self.kh * self.kw + self.k)


def write(network: str, folder: Path = FOLDER) -> Path:
    """Write the network's file from its captured graph."""
    layers = of_network(network)
    h, w = find_model(network).input_size[1:]
    names = [f.name for f in fields(Layer)]
    rows = [names, *([str(v) for v in astuple(layer)] for layer in layers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
    lines = [" ".join(text.ljust(n) for text, n in zip(row, widths, strict=True)) for row in rows]
    head = f"# {network} at {h} x {w}, one image; written by: python -m bench shapes {network}"
    path = folder / f"{network}.txt"
    write_text(path, "\n".join([head, *(line.rstrip() for line in lines)]) + "\n")
    return path


def read(path: Path) -> list[Layer]:
    """The layers of a file.

    Raises:
        ValueError: a line does not fit the header; names file and line.
    """
    lines = [(i, line.split()) for i, line in enumerate(path.read_text().splitlines(), 1)]
    (_, names), *rows = [(i, cells) for i, cells in lines if cells and cells[0] != "#"]
    layers = []
    for number, cells in rows:
        if len(cells) != len(names):
            raise ValueError(f"{path}:{number}: {len(cells)} cells under {len(names)} names")
        texts = dict(zip(names, cells, strict=True))
        values = {k: v if k in ("name", "op", "act") else int(v) for k, v in texts.items()}
        layers.append(Layer(**values))  # type: ignore[arg-type]
    return layers


def of_network(network: str) -> list[Layer]:
    """The distinct layers of a network of the zoo at its own image size, in the order in which they run."""
    with torch.device("meta"):
        net = create_model(network).eval()
    net = net.to_empty(device="cpu")  # no values are looked at: initialising VGG's takes seconds
    x = torch.empty(1, *find_model(network).input_size)
    graph = run_passes(capture(net, (x,)))
    names: dict[Layer, str] = {}
    times: Counter[Layer] = Counter()
    for layer in _layers(graph, tuple(x.shape)):
        key = replace(layer, name="")
        names.setdefault(key, layer.name)
        times[key] += 1
    return [replace(key, name=name, times=times[key]) for key, name in names.items()]


def _layers(graph: Graph, image: Shape) -> Iterator[Layer]:
    shapes = infer_shapes(graph, [image])
    for node in graph.nodes:
        op = resolve(node.op, shapes)
        x, y = shapes[node.inputs[0]], shapes[node.outputs[0]]
        name = node.path or "-"
        if isinstance(op, Linear):
            rows = 1
            for size in x[:-1]:
                rows *= size
            yield Layer(
                name, 1, "linear", rows, 1, x[-1], y[-1],
                residual=int(op.has_residual), act=op.act.kind,
            )  # fmt: skip
        if isinstance(op, Conv2d):
            _, _, kh, kw = op.weight_shape or graph.tensors.shape(op.weight)
            yield Layer(
                name, 1, "conv2d", x[2], x[3], x[1], y[1], kh, kw, *op.stride, *op.padding, *op.dilation,
                op.groups, int(node.inputs[0] in graph.inputs), int(op.has_residual), op.act.kind,
            )  # fmt: skip


def main(networks: list[str]) -> None:
    """Write the files of `networks`, default all of `NETWORKS`."""
    for network in networks or NETWORKS:
        print(write(network))
