"""The demo's steps: train through autograd, optimise, compare image by image, time each engine in its own process."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pycnn.demo.digits import Digits, load_digits, train
from pycnn.models import LeNetLike, plain_torch
from pycnn.optimize import optimize
from pycnn.timing import Timing, Workload

WORKLOADS = (Workload("lenet_like", 1), Workload("lenet_like", 64), Workload("resnet18", 1))


@dataclass(frozen=True)
class Comparison:
    """The trained network on the held-out digits, in torch and optimised.

    Attributes:
        images: how many held-out images there are.
        accuracy_torch, accuracy_pycnn: the share of them with the right label.
        different: on how many images the two disagree.
        error_torch, error_pycnn: max|logit - ref| / max|ref|, ref the same network in fp64.
        train_s: seconds of training; first_call_s: of the optimised network's first call, which captures and plans.
        predictions: the optimised network's labels.
    """

    images: int
    accuracy_torch: float
    accuracy_pycnn: float
    different: int
    error_torch: float
    error_pycnn: float
    train_s: float
    first_call_s: float
    predictions: tuple[int, ...]

    def record(self) -> dict[str, Any]:
        """The figures, without the single predictions."""
        return {k: v for k, v in asdict(self).items() if k != "predictions"}


def train_and_compare(
    epochs: int, on_epoch: Callable[[float], None] = lambda loss: None
) -> tuple[Comparison, Digits]:
    """Train a `LeNetLike` on the digits, always alike; compare it with its optimised twin on the held-out images."""
    digits = load_digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = LeNetLike()
    start = time.perf_counter()
    train(net, digits, epochs=epochs, on_epoch=on_epoch)
    trained = time.perf_counter()
    fast = optimize(net)
    with torch.inference_mode():
        first = time.perf_counter()
        logits_pycnn: Tensor = fast(digits.test_x)
        first_call_s = time.perf_counter() - first
        with plain_torch():
            logits_torch: Tensor = net(digits.test_x)
            expected = copy.deepcopy(net).double()(digits.test_x.double())
    labels_torch, labels_pycnn = logits_torch.argmax(1), logits_pycnn.argmax(1)
    scale = expected.abs().max()
    comparison = Comparison(
        images=len(digits.test_y),
        accuracy_torch=float((labels_torch == digits.test_y).double().mean()),
        accuracy_pycnn=float((labels_pycnn == digits.test_y).double().mean()),
        different=int((labels_torch != labels_pycnn).sum()),
        error_torch=float((logits_torch - expected).abs().max() / scale),
        error_pycnn=float((logits_pycnn - expected).abs().max() / scale),
        train_s=trained - start,
        first_call_s=first_call_s,
        predictions=tuple(labels_pycnn.tolist()),
    )
    return comparison, digits


def speedup(timing: Timing, timings: list[Timing]) -> float:
    """How many times fewer seconds (20th percentile) `timing` takes than the faster torch on the same workload."""
    torch_s = [
        t.p20_s for t in timings if t.workload == timing.workload and t.engine.startswith("torch")
    ]
    return min(torch_s) / timing.p20_s
