"""Networks nobody here wrote: torchvision's and timm's, each optimised and held against its own forward.

    python -m bench coverage [PATTERN ...] [--most 30] [--processes 2]

docs/coverage.md is written from the rows: which networks run on kernels alone, and what torch runs in the others.
"""

from __future__ import annotations

import contextlib
import fnmatch
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

import pycnn
from bench.report import ROOT
from bench.tables import markdown
from pycnn.files import write_text
from pycnn.inspection import parts_of
from pycnn.optimize import OptimizedModule
from pycnn.timing import libraries

PAGE = ROOT / "docs" / "coverage.md"
SIZE = 128  # of images, where a network takes any
WORST = 1e-4  # of the largest output: what Winograd is held to

# timm's files of convolutional networks, hybrids with a little attention among them.
FAMILIES = (
    "byoanet", "byobnet", "convmixer", "convnext", "csatv2", "cspnet", "cspnext", "densenet", "dla", "dpn", "edgenext",
    "efficientformer", "efficientformer_v2", "efficientnet", "efficientvit_mit", "fasternet", "fastvit", "focalnet",
    "ghostnet", "hardcorenas", "hgnet", "hrnet", "inception_next", "inception_resnet_v2", "inception_v3",
    "inception_v4", "lcnetv2", "levit", "mambaout", "metaformer", "mobilenetv3", "mobilenetv5", "mobilevit", "nasnet",
    "nextvit", "nfnet", "pnasnet", "rdnet", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet",
    "resnetv2", "rexnet", "selecsls", "senet", "shvit", "sknet", "starnet", "swiftformer", "tiny_vit", "tresnet",
    "vgg", "vovnet", "xception", "xception_aligned",
)  # fmt: skip
ATTENTION = ("vit_*", "swin*", "maxvit*")  # torchvision's networks that are not convolutional


@dataclass(frozen=True)
class Network:
    """One of `pycnn.timing.libraries`."""

    library: str
    name: str


@dataclass(frozen=True)
class Row:
    """What became of a network.

    Attributes:
        parameters: number of them. steps: of the plan; torch_ops: those that torch runs, an entry each.
        whole: captured as one graph, not submodule by submodule.
        error: largest difference from torch, over the largest output.
        own: where that is more than `WORST`, what torch's fp32 differs from its fp64, or, if that is more, what inputs
            larger by their last place change in fp64: where a network enlarges that, one run's difference is luck.
        failure: one line, where it did not get that far.
    """

    network: Network
    parameters: int = 0
    steps: int = 0
    torch_ops: tuple[str, ...] = ()
    whole: bool = True
    error: float = 0.0
    own: float = 0.0
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it ran and answered as torch does."""
        return not self.failure and self.error <= max(WORST, 4 * self.own)


def networks(patterns: Sequence[str]) -> list[Network]:
    """All of them, or those whose name fits one of the patterns. ValueError: none does."""
    timm = libraries.load_timm()
    found = [Network("torchvision", name) for name in libraries.list_networks("torchvision")]
    found = [n for n in found if not any(fnmatch.fnmatch(n.name, p) for p in ATTENTION)]
    for family in sorted(set(FAMILIES) & set(timm.list_modules())):
        found += [Network("timm", name) for name in timm.list_models(module=family)]
    if patterns:
        found = [n for n in found if any(fnmatch.fnmatch(n.name, p) for p in patterns)]
        if not found:
            raise ValueError(f"no network of torchvision or timm fits {' '.join(patterns)!r}")
    return found


def alive(net: nn.Module, x: Tensor) -> None:
    """Statistics as of four random images, no scale of zero: as it is made, many a block ends in a factor of zero, and
    no error would show; with statistics of nothing a deep network magnifies roundings."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            if norm.weight is not None and not norm.weight.any():
                norm.weight.fill_(0.5)
            norm.momentum = 1.0
            norm.train()
        net(torch.randn(4, *x.shape[1:], generator=torch.Generator().manual_seed(2)))
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


def tensors(value: object) -> list[Tensor]:
    """The tensors of a result: itself, or those of a list, tuple or dict."""
    if isinstance(value, Tensor):
        return [value]
    items: Iterable[object] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    return [t for item in items for t in tensors(item)]


def image(net: nn.Module) -> Tensor:
    """A batch of one; of the network's own size where it takes no other."""
    said = getattr(net, "pretrained_cfg", None) or {}
    channels, h, w = said.get("input_size", (3, SIZE, SIZE))
    if not said.get("fixed_input_size", False) and not isinstance(
        net, libraries.load_timm().models.ByobNet
    ):
        h = w = SIZE  # of byobnet's some cut maps into blocks of a size
    return torch.randn(1, channels, h, w, generator=torch.Generator().manual_seed(1))


def try_network(network: Network, most: float) -> Row | None:
    """Optimise it and compare; None: it has more than `most` million parameters."""
    torch.manual_seed(0)
    parameters = 0
    try:
        with torch.device("meta") if network.library == "timm" else contextlib.nullcontext():
            net = libraries.make(network.library, network.name)
            parameters = sum(p.numel() for p in net.parameters())
        if parameters > most * 1e6:
            return None
        net = libraries.make(network.library, network.name)
        x = image(net)
        alive(net, x)
        fast = pycnn.optimize(net)
        with torch.inference_mode():
            return _compared(network, parameters, net, fast, x)
    except Exception as error:  # whatever a stranger's network does is a row of the page
        first = (str(error).splitlines() or [""])[0]
        return Row(network, parameters, failure=f"{type(error).__name__}: {first}"[:200])


def _compared(
    network: Network, parameters: int, net: nn.Module, fast: OptimizedModule, x: Tensor
) -> Row:
    expected, found = tensors(net(x)), tensors(fast(x))
    report = pycnn.explain(fast, x)
    apart = [path for path, _ in parts_of(fast)]
    if len(expected) != len(found):
        return Row(network, parameters, failure=f"{len(found)} results, torch has {len(expected)}")
    error = difference(found, expected)
    own = 0.0 if error <= WORST else _own(net.double(), x.double(), expected)
    ops = tuple(s.op for s in report.steps if not s.kernel)
    return Row(network, parameters, len(report.steps), ops, not apart, error, own)


def _own(net: nn.Module, x: Tensor, expected: Sequence[Tensor]) -> float:
    """How far results of fp32 may be off; `net` and `x` in fp64, `expected` the network's in fp32."""
    exact = tensors(net(x))
    return max(difference(expected, exact), difference(tensors(net(x * (1 + 2**-23))), exact))


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest, of each pair over the largest value expected; NaN where one has one."""
    pairs = zip(found, expected, strict=True)
    return max(float((f - e).abs().max() / e.abs().max().clamp(min=1e-30)) for f, e in pairs)


def _job(job: tuple[Network, float]) -> Row | None:
    torch.set_num_threads(1)
    return try_network(*job)


def measure(
    patterns: Sequence[str], most: float, processes: int, say: Callable[[Row], object]
) -> list[Row]:
    """A row for every network of at most `most` million parameters; `say` hears each as it comes."""
    jobs = [(network, most) for network in networks(patterns)]
    rows = []
    # A new process after 40 networks gives back what the allocator keeps of the large ones.
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=40) as pool:
        for row in pool.imap(_job, jobs):
            if row is not None:
                rows.append(row)
                say(row)
    return rows


def sentence(row: Row) -> str:
    """One line for the terminal."""
    if row.failure:
        return f"{row.network.name}: {row.failure}"
    said = f"{row.network.name}: {row.steps} steps, {len(row.torch_ops)} by torch, error {row.error:.1e}"
    return said + ("" if row.whole else ", in parts") + ("" if row.agrees else "  WRONG")


def page(rows: Sequence[Row], most: float) -> str:
    """docs/coverage.md."""
    agree = [row for row in rows if row.agrees]
    whole = [row for row in agree if not row.torch_ops]
    uses = Counter(op for row in agree for op in row.torch_ops)
    models = Counter(op for row in agree for op in set(row.torch_ops))
    order = sorted(models, key=lambda op: (-models[op], -uses[op], op))
    fallen = [[f"`{op}`", str(models[op]), str(uses[op])] for op in order]
    versions = (
        f"torch {torch.__version__}, torchvision {version('torchvision')}, timm {version('timm')}"
    )
    table = [
        [row.network.library, row.network.name, f"{row.parameters / 1e6:.1f}", *_cells(row)]
        for row in rows
    ]
    return "\n".join(
        [
            "# What runs",
            "",
            "Every convolutional network of torchvision (classification and segmentation) and timm with at most "
            f"{most:g} M parameters, made with random weights, optimised with the defaults and compared with its own "
            f"forward on one image of {SIZE}×{SIZE}. Written by `python -m bench coverage`; {versions}.",
            "",
            f"**{len(rows)} networks: {len(agree)} agree with torch to {WORST:g} of their largest output (or to 4 "
            f"times what torch's own fp32 differs from fp64, or inputs larger by their last place change there), "
            f"{len(whole)} of them without a step of torch's.**",
            "",
            "## What torch runs inside plans",
            "",
            markdown(["op", "networks", "steps"], fallen),
            "",
            "## Network by network",
            "",
            markdown(
                ["library", "network", "M parameters", "steps", "by torch", "error", "torch's ops"],
                table, left=2,
            ),
            "",
        ]
    )  # fmt: skip


def _cells(row: Row) -> list[str]:
    if row.failure:
        return ["", "", "", f"failed: {row.failure.replace('|', '/')}"]
    counts = Counter(row.torch_ops)
    ops = ", ".join(f"{op} {n}" if n > 1 else op for op, n in counts.most_common())
    ops = ops if row.whole else f"{ops} (in parts)".strip()
    return [str(row.steps), str(len(row.torch_ops)), f"{row.error:.0e}", ops]


def write(rows: Sequence[Row], most: float, path: Path | None = None) -> Path:
    """Write the page; it is whole or as it was."""
    path = path or PAGE
    write_text(path, page(rows, most))
    return path
