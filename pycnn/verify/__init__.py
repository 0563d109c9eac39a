"""`verify`: every layer of an optimised module held against the original in fp64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pycnn.compiled import Compiled
from pycnn.inspection import compiled_for
from pycnn.ir import Node, flatten_output
from pycnn.layers import Layers, kind, unique
from pycnn.optimize import OptimizedModule
from pycnn.planning.observe import observe
from pycnn.planning.program import Program, Values
from pycnn.planning.segments import Segment, TorchStep
from pycnn.planning.situation import Situation
from pycnn.verify.certificate import Certificate, LayerCheck
from pycnn.verify.deviation import deviation, same_bits
from pycnn.verify.reference import Reference, buffers_kept

__all__ = ["Certificate", "LayerCheck", "verify"]

BOUND, EXACT_BOUND = 1e-4, 1e-5  # of max|y - ref| / max|ref|; the latter with exact=True
OWN_ERRORS = 3.0  # or this many times torch's own error, if that is more


def verify(
    fast: nn.Module,
    model: nn.Module,
    *args: Any,
    tol: float | None = None,
    auto_promote: bool = False,
    **kwargs: Any,
) -> Certificate:
    """Hold every layer of ``fast(*args, **kwargs)`` against ``model`` in fp64.

    A copy of ``model`` runs in fp64, and each value the plan computes is compared with the tensor that run has at the
    same point; so a layer's error includes what the layers before it did. ``model`` and torch's random numbers stay as
    they were. Needs memory for all values of the network at once, in fp64 and in fp32.

    Args:
        fast: what :func:`pycnn.optimize` returned, in eval mode.
        model: the original, in eval mode: what ``fast`` was made from, or another instance of it.
        args, kwargs: the arguments of a call: ``verify(fast, model, x)``.
        tol: the largest max|y - ref| / max|ref| allowed in any layer. Default: 1e-4 (1e-5 if ``fast`` was made with
            ``exact=True``), or 3 times the error of ``model`` itself (in the dtype of ``fast``) in that layer,
            whichever is larger.
        auto_promote: of a module that computes in bf16 or fp16, keep layers that are too far off in fp32, and the
            layers before them where that is not enough, until all are within `tol` or nothing is left to keep. ``fast``
            stays so (``fast.promote``); the layers kept run as torch's own ops.

    Raises:
        TypeError: fast is not an optimised module, model not a module, tol not a number.
        ValueError: training mode; tol is negative; auto_promote of a module that computes in fp32; the original draws
            random numbers, does not run in fp64, or is another network than ``fast``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"verify: model must be a torch.nn.Module, got {type(model).__name__}")
    if tol is not None and (isinstance(tol, bool) or not isinstance(tol, (int, float))):
        raise TypeError(f"verify: tol must be a number, got {tol!r}")
    if tol is not None and not tol >= 0:
        raise ValueError(f"verify: tol={tol} must not be negative")
    if model.training:
        raise ValueError("verify: model is in training mode; call .eval()")
    compiled, reason = compiled_for("verify", fast, args, kwargs)
    assert isinstance(fast, OptimizedModule)
    original = model._model if isinstance(model, OptimizedModule) else model
    exact = EXACT_BOUND if fast._options.exact else BOUND
    tolerance = _Tolerance(exact, OWN_ERRORS) if tol is None else _Tolerance(float(tol))
    with torch.no_grad(), buffers_kept(fast._model):
        if compiled is None:
            reference = Reference(original, args, kwargs, {})
            outputs = _outputs(reference, tolerance, _tensors(fast(*args, **kwargs)))
            return Certificate((), outputs, True, (f"the model runs as it is: {reason}",))

        def certify(of: Compiled) -> Certificate:
            return _certificate(fast, original, of, tolerance, args, kwargs)

        def again() -> Compiled:
            found, _ = compiled_for("verify", fast, args, kwargs)
            assert found is not None
            return found

        return _promoted(fast, compiled, certify, again) if auto_promote else certify(compiled)


def _promoted(
    fast: OptimizedModule,
    compiled: Compiled,
    certify: Callable[[Compiled], Certificate],
    again: Callable[[], Compiled],
) -> Certificate:
    """After keeping in fp32 what is too far off: those layers, then those before the first that still is. `again`: the
    graph with what is kept by then."""
    dtypes = {d for d in compiled.raw.dtypes.values() if d.is_floating_point}
    if all(dtype.itemsize >= torch.float32.itemsize for dtype in dtypes):
        raise ValueError("verify: auto_promote keeps layers in fp32, where this module computes")
    while True:
        found = certify(compiled)
        kept = fast._options.promoted
        off = {check.module for check in found.layers if not check.ok} - kept
        if not off and not found.ok:
            first = found.layers.index(found.first_bad) if found.first_bad in found.layers else None
            before = [check.module for check in found.layers[:first] if check.module not in kept]
            off = set(before[-1:])
        if not off:
            return replace(found, promoted=tuple(sorted(kept)))
        fast.promote(off)
        compiled = again()


@dataclass(frozen=True)
class _Tolerance:
    bound: float
    own: float = 0.0

    def of(self, torch_error: float) -> float:
        """Of a value in which torch's own error is `torch_error`."""
        return max(self.bound, self.own * torch_error) if self.own else self.bound


def _certificate(
    fast: OptimizedModule,
    original: nn.Module,
    compiled: Compiled,
    tolerance: _Tolerance,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Certificate:
    layers = Layers(fast._model, compiled.raw, compiled.program.graph)
    reference = Reference(original, args, kwargs, layers.origins(), fast._options.dtype)
    walk = _Walk(compiled.program, layers, reference, tolerance)
    kept = _tensors(compiled.program.walk(compiled.inputs(args, kwargs), walk.segment, walk.torch))
    found = _tensors(fast(*args, **kwargs))
    outputs = _outputs(reference, tolerance, found)
    same = len(found) == len(kept) and all(map(same_bits, found, kept))
    notes = walk.missing
    if reference.diverged:
        notes = [f"layers from there on are not compared: {reference.diverged}"]
    names = unique([check.path for check in walk.checks])
    checks = (replace(c, path=name) for c, name in zip(walk.checks, names, strict=True))
    return Certificate(tuple(checks), outputs, same, tuple(notes))


class _Walk:
    """A run of the plan that compares each value as it comes."""

    def __init__(
        self, program: Program, layers: Layers, reference: Reference, tolerance: _Tolerance
    ) -> None:
        self.program, self.layers = program, layers
        self.reference, self.tolerance = reference, tolerance
        self.checks: list[LayerCheck] = []
        self.missing: list[str] = []
        self._done: set[int] = set()  # values of the capture

    def segment(self, segment: Segment, inputs: list[Tensor], now: Situation) -> Values:
        lowered, values = observe(self.program, segment, inputs, now)
        for node in segment.nodes:
            kernels = [s.kernel for s in lowered.steps if s.node.outputs == node.outputs]
            self._check(node, " ".join(kernels), values)
        return {v: values[v] for v in segment.outputs}

    def torch(self, step: TorchStep, inputs: list[Tensor], now: Situation) -> Values:
        values = self.program.run_torch(step, inputs, now)
        self._check(step.node, "", values)
        return values

    def _check(self, node: Node, kernel: str, values: Values) -> None:
        for v in node.outputs:
            raw, path = self.layers.raw_value(v), self.layers.name(node)
            if raw in self._done:
                continue
            self._done.add(raw)
            ref = self.reference.values.get(raw)
            if v not in values or ref is None:
                self.missing.append(f"{path}: the original has no tensor there to compare with")
                continue
            own = self.reference.own_errors[raw]
            y = self.layers.as_captured(v, values[v])
            check = _compared(path, y, ref, own, self.tolerance.of(own))
            self.checks.append(replace(check, op=kind(node), kernel=kernel, module=node.path))


def _compared(path: str, y: Tensor, ref: Tensor, own: float, tol: float) -> LayerCheck:
    if y.numel() != ref.numel():
        raise ValueError(
            f"verify: {path} is {list(y.shape)} in fast and {list(ref.shape)} in model: another network"
        )
    found = deviation(y, ref)
    shape = tuple(y.shape)
    return LayerCheck(path, "", "", shape, found.max_abs, found.error, found.cosine, own, tol)


def _outputs(
    reference: Reference, tolerance: _Tolerance, found: list[Tensor]
) -> tuple[LayerCheck, ...]:
    expected, own = reference.outputs, reference.own_output_errors
    if len(found) != len(expected):
        raise ValueError(
            f"verify: fast returns {len(found)} tensors, model {len(expected)}: another network"
        )
    names = ["output"] if len(found) == 1 else [f"output {i}" for i in range(len(found))]
    return tuple(
        replace(_compared(name, y, ref, error, tolerance.of(error)), op="output")
        for name, y, ref, error in zip(names, found, expected, own, strict=True)
    )


def _tensors(result: Any) -> list[Tensor]:
    leaves, _ = flatten_output(result)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
