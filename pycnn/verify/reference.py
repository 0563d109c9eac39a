"""The truth: the original in fp64, and how far the original in its own dtype is from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from pycnn.frontend import Replay
from pycnn.ir import Origin, flatten_output
from pycnn.verify.deviation import deviation


class Reference:
    """Runs copies of `model`, which stays untouched, and keeps what they compute.

    Attributes:
        values: value of the captured graph -> that tensor of the run in fp64, for each of `origins`.
        own_errors: value -> max|y - ref| / max|ref| of the run in the model's own dtype, or in `dtype`.
        outputs, own_output_errors: the same for the tensors it returns, in order.
        diverged: why some of `origins` have no value; empty if all have.

    Raises:
        ValueError: it cannot be copied, draws random numbers, or does not run in fp64.
    """

    def __init__(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        origins: Mapping[int, Origin],
        dtype: torch.dtype | None = None,
    ) -> None:
        self.values: dict[int, Tensor] = {}
        self.own_errors: dict[int, float] = {}

        def keep(value: int, tensor: Tensor) -> None:
            self.values[value] = tensor.clone()

        def compare(value: int, tensor: Tensor) -> None:
            if value in self.values and tensor.shape == self.values[value].shape:
                self.own_errors[value] = deviation(tensor, self.values[value]).error

        with torch.no_grad(), random_state_kept():
            exact, own = Replay(origins, keep), Replay(origins, compare)
            self.outputs = _tensors(_run_in_fp64(model, args, kwargs, exact))
            state = torch.get_rng_state()
            copied = _copy(model)
            if dtype is not None:
                copied, (args, kwargs) = copied.to(dtype), _cast((args, kwargs), dtype)
            with own:
                outputs = _tensors(copied(*args, **kwargs))
            if not torch.equal(torch.get_rng_state(), state):
                raise ValueError(
                    "verify: the model draws random numbers, so no two runs of it can be compared"
                )
        pairs = zip(outputs, self.outputs, strict=True)
        self.own_output_errors = [deviation(y, ref).error for y, ref in pairs]
        self.diverged = exact.diverged or own.diverged


@contextmanager
def random_state_kept() -> Iterator[None]:
    """torch's random numbers on the CPU go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Buffers that a call of the model writes (running statistics, counters) have their values again afterwards."""
    before = [(b, b.detach().clone()) for b in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, saved in before:
                if not torch.equal(buffer, saved):
                    buffer.copy_(saved)


def _run_in_fp64(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], replay: Replay
) -> Any:
    wide_args, wide_kwargs = _cast((args, kwargs), torch.float64)
    exact = _copy(model).double()
    try:
        with replay:
            return exact(*wide_args, **wide_kwargs)
    except Exception as error:
        raise ValueError(f"verify: the original does not run in fp64: {error}") from error


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """The floating-point tensors in it in that dtype."""

    def cast(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return pytree.tree_map(cast, values)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ValueError(f"verify: the original cannot be copied: {error}") from error


def _tensors(result: Any) -> list[Tensor]:
    leaves, _ = flatten_output(result)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
