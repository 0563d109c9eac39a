"""The engines: torch and pycnn here, those that need more packages in `peers`; one table of all."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pycnn.optimize import optimize
from pycnn.timing import peers
from pycnn.timing.peers import Ready

Build = Callable[[nn.Module, Tensor, int], Ready]


@dataclass(frozen=True)
class Engine:
    """How to run a network.

    Attributes:
        name: as in tables; `find_engines` also takes it in lower case with hyphens.
        build: (network in eval, input [n, c, h, w], threads) to what runs it.
        needs: modules that must be importable; `extra`: the extra of pycnn that brings them.
        compiler: whether it calls a C++ compiler.
        dtype: of the network; engines are compared with those of the same.
    """

    name: str
    build: Build
    needs: tuple[str, ...] = ()
    extra: str = "bench"
    compiler: bool = False
    dtype: str = "float32"

    def why_not(self) -> str | None:
        """Why this engine cannot run here, in one sentence, or None."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            return f"{self.name} needs {' and '.join(missing)}: pip install 'pycnn[{self.extra}]'"
        if self.compiler and not shutil.which(os.environ.get("CXX", "g++")):
            return (
                f"{self.name} needs a C++ compiler, and there is no {os.environ.get('CXX', 'g++')}"
            )
        return None


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _torch_nchw(net: nn.Module, x: Tensor, threads: int) -> Ready:
    return Ready(partial(net, x), _tensors, module=net)


def _torch_nhwc(net: nn.Module, x: Tensor, threads: int) -> Ready:
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Ready(
        partial(net, x.contiguous(memory_format=torch.channels_last)), _tensors, module=net
    )


def _pycnn(net: nn.Module, x: Tensor, threads: int, exact: bool = False) -> Ready:
    fast = optimize(net, exact=exact)
    return Ready(partial(fast, x), _tensors, module=fast)


def _bf16(name: str, build: Build, **options: Any) -> Engine:
    """The engine on the network and input in bf16."""

    def built(net: nn.Module, x: Tensor, threads: int) -> Ready:
        return build(net.to(torch.bfloat16), x.to(torch.bfloat16), threads)

    return Engine(f"{name} bf16", built, dtype="bfloat16", **options)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("torch NCHW", _torch_nchw),
        Engine("torch NHWC", _torch_nhwc),
        Engine("torch.compile", peers.inductor, compiler=True),
        Engine("ONNX Runtime", peers.onnx_runtime, needs=("onnx", "onnxscript", "onnxruntime")),
        Engine("OpenVINO", peers.openvino_latency, needs=("openvino",)),
        Engine("OpenVINO throughput", peers.openvino_throughput, needs=("openvino",)),
        Engine("pycnn exact", partial(_pycnn, exact=True)),
        Engine("pycnn", _pycnn),
        _bf16("torch", _torch_nhwc),
        _bf16("torch.compile", peers.inductor, compiler=True),
        Engine("OpenVINO bf16", peers.openvino_bf16, needs=("openvino",), dtype="bfloat16"),
        _bf16("pycnn", _pycnn),
    )
}
OURS = ("pycnn exact", "pycnn", "pycnn bf16")  # exact: direct convolution alone
TORCH_ENGINES = ("torch NCHW", "torch NHWC", "pycnn")


def available() -> list[str]:
    """Names of the engines that can run here."""
    return [name for name, engine in ENGINES.items() if engine.why_not() is None]


def find_engines(names: Sequence[str]) -> list[str]:
    """The engines called `names`, in the table's order, once each.

    Args:
        names: names as in `ENGINES`, or those in lower case with hyphens ("torch-nchw"); "all": every one which can run
            here.

    Raises:
        ValueError: an unknown name. RuntimeError: an engine asked for by name cannot run here; says what it needs.
    """
    by_word = {name.lower().replace(" ", "-"): name for name in ENGINES}
    wanted: set[str] = set()
    for name in names:
        if name == "all":
            wanted.update(available())
            continue
        found = by_word.get(name.lower().replace(" ", "-"))
        if found is None:
            raise ValueError(f"unknown engine {name!r}: one of all, {', '.join(by_word)}")
        reason = ENGINES[found].why_not()
        if reason is not None:
            raise RuntimeError(reason)
        wanted.add(found)
    return [name for name in ENGINES if name in wanted]
