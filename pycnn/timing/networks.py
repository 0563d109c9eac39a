"""Networks by the name in a workload: `NAME` of the zoo, `torchvision/NAME` or `timm/NAME`, newly initialised."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pycnn.models import create_model, plain_torch
from pycnn.registry import find_model
from pycnn.timing import libraries
from pycnn.timing.results import Workload


class ImageOnly(nn.Module):
    """A network that takes more than an image, with the rest given."""

    def __init__(self, net: nn.Module, rest: tuple[Any, ...]) -> None:
        super().__init__()
        self.net, self.rest = net, rest

    def forward(self, x: Tensor) -> Any:
        return self.net(x, *self.rest)


def check_networks(workloads: Sequence[Workload]) -> None:
    """Before any work: every network exists and runs on images of the size; shapes are computed, no values.

    Raises:
        ValueError: one does not.
    """
    for workload in workloads:
        library, name = _split(workload.model)
        if library is None:
            find_model(name)
        else:
            libraries.check_name(library, name)
    for workload in workloads:
        try:
            flops_per_image(workload)
        except Exception as error:  # a stranger's network says it in its own way
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            c, h, w = image_size(workload)
            raise ValueError(
                f"{workload.model} does not run on images of {c}×{h}×{w}: {first}"
            ) from None


def make_network(model: str) -> nn.Module:
    """The network in eval mode, of an image alone.

    Raises:
        ValueError: it is unknown.
    """
    library, name = _split(model)
    if library is not None:
        return libraries.make(library, name)
    extra = find_model(name).family.extra_inputs
    net = create_model(name).eval()
    return ImageOnly(net, extra).eval() if extra else net


def image_size(workload: Workload) -> tuple[int, int, int]:
    """(c, h, w) of one image.

    Raises:
        ValueError: the network is unknown.
    """
    library, name = _split(workload.model)
    if library is None:
        c, *own = find_model(name).input_size
    else:
        c, *own = libraries.input_size(library, name)
    h, w = own if workload.size is None else workload.size
    return c, h, w


def _split(model: str) -> tuple[str | None, str]:
    """(library, name); None: the zoo."""
    library, slash, name = model.rpartition("/")
    return library if slash else None, name


def network_and_input(workload: Workload) -> tuple[nn.Module, Tensor]:
    """The workload's network in eval mode, with `randomise_norms`, and its input: the same in every process."""
    torch.manual_seed(0)
    net = make_network(workload.model)
    randomise_norms(net)
    return net, torch.randn(workload.batch, *image_size(workload))


def randomise_norms(net: nn.Module) -> None:
    """Random statistics for batch norms, and no scale of zero: as it is made, many a block ends in a factor of zero,
    and maps fade layer by layer to the last bias, so that no error would show."""
    for norm in net.modules():
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            continue
        if norm.running_mean is not None and norm.running_var is not None:
            nn.init.normal_(norm.running_mean, 0, 0.2)
            nn.init.uniform_(norm.running_var, 0.5, 2)
        if norm.weight is not None and not norm.weight.any():
            nn.init.constant_(norm.weight, 0.5)


def flops_per_image(workload: Workload) -> int:
    """Operations of one image through the network, a multiply-add being two; no value is computed."""
    return _flops(workload.model, image_size(workload))


@functools.cache
def _flops(model: str, image: tuple[int, int, int]) -> int:
    # Some of torchvision's networks look at values while they are made, so not every one is made on "meta".
    with torch.device("cpu" if "/" in model else "meta"), torch.random.fork_rng(devices=[]):
        net = make_network(model).to("meta")
    x = torch.empty(1, *image, device="meta")
    with torch.inference_mode(False), torch.no_grad(), plain_torch():
        counter = FlopCounterMode(display=False)
        with counter:
            net(x)
    return int(counter.get_total_flops())
