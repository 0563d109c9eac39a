"""Fast forward, torch's own backward: the original module is run again only if a gradient is asked for."""

from __future__ import annotations

from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from pycnn.compiled import Compiled
from pycnn.ir import flatten_output


def needs_gradient(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call may be asked for one."""
    leaves = (*pytree.tree_leaves((args, kwargs)), *model.parameters())
    return any(isinstance(t, Tensor) and t.requires_grad for t in leaves)


def recompute(
    model: nn.Module, compiled: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The plan's result, with a backward that recomputes through ``model``: gradients are torch's own.

    Models that draw random numbers, return their inputs or views of them run as they are.
    """
    if not compiled.recomputes():
        return model(*args, **kwargs)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    job = _Job(model, compiled, leaves, spec, len(inputs))
    outputs = _Recompute.apply(job, *inputs, *parameters)  # type: ignore[no-untyped-call]
    return job.rebuild(outputs)


class _Job:
    """What one call needs besides tensors that autograd tracks."""

    def __init__(
        self,
        model: nn.Module,
        compiled: Compiled,
        leaves: list[Any],
        spec: pytree.TreeSpec,
        inputs: int,
    ) -> None:
        self.model, self.compiled, self.spec, self.inputs = model, compiled, spec, inputs
        self.leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.tensor_at = [isinstance(leaf, Tensor) for leaf in leaves]
        self.result: list[Any] = []
        self.tree: Any = None

    def fast(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        cast = self.compiled.options.cast
        self.result, self.tree = flatten_output(
            self.compiled.run(
                [cast(x) for x in inputs], replay=False
            )  # the weights are about to change
        )
        return tuple(leaf for leaf in self.result if isinstance(leaf, Tensor))

    def original(self, inputs: list[Tensor]) -> list[Tensor]:
        given = iter(inputs)
        pairs = zip(self.tensor_at, self.leaves, strict=True)
        leaves = [next(given) if is_tensor else leaf for is_tensor, leaf in pairs]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        found, _ = flatten_output(self.model(*args, **kwargs))
        return [leaf for leaf in found if isinstance(leaf, Tensor)]

    def rebuild(self, outputs: tuple[Tensor, ...]) -> Any:
        given = iter(outputs)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self.result]
        return self.tree.unflatten(leaves)


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.job = job
        ctx.save_for_backward(*tensors)
        outputs = job.fast(list(tensors[: job.inputs]))
        ctx.mark_non_differentiable(*[y for y in outputs if not y.is_floating_point()])
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        job, saved = ctx.job, ctx.saved_tensors
        second = torch.is_grad_enabled()  # create_graph: keep the chain to the inputs
        with torch.enable_grad():
            inputs = [
                x if second else x.detach().requires_grad_(x.requires_grad)
                for x in saved[: job.inputs]
            ]
            outputs = job.original(inputs)
        pairs = [
            (y, g.to(y.dtype))
            for y, g in zip(outputs, grads, strict=True)
            if g is not None and y.requires_grad
        ]
        wanted = [
            (i, t)
            for i, t in enumerate((*inputs, *saved[job.inputs :]))
            if ctx.needs_input_grad[i + 1]
        ]
        result: list[Tensor | None] = [None] * (len(saved) + 1)
        if pairs:
            found = torch.autograd.grad(
                [y for y, _ in pairs],
                [t for _, t in wanted],
                [g for _, g in pairs],
                allow_unused=True,
                create_graph=second,
            )
            for (i, _), g in zip(wanted, found, strict=True):
                result[i + 1] = g
        return tuple(result)
