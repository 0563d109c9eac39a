"""`optimize`: any nn.Module in, the same module in eval mode running through fused kernels out."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.export import ExportedProgram

from pycnn.compiled import Compiled, State, compile_model, known_match
from pycnn.direct import Direct
from pycnn.frontend import SavedNetwork, module_of
from pycnn.gradients import needs_gradient, recompute
from pycnn.inputs import filled, is_shape, torch_watches
from pycnn.options import Options
from pycnn.parts import Parts
from pycnn.wrapper import Wrapper

log = logging.getLogger("pycnn.optimize")


class OptimizedModule(Wrapper):
    """The fast twin of `model`: it shares the model's parameters, buffers and submodules, and its keys.

    In eval its forward runs the plan; in train it is the model. Weights may change at any time: replaced tensors and
    submodules, in-place edits, new storage, public attributes of modules are noticed at the next call; `refresh()` for
    edits nothing can see (through `p.data`, inside lists). May be called from several threads. `pycnn.save`: to files.
    """

    _OWN = ("_model", "_options", "_compiled", "_direct", "_lock", "_parts", "_dtype")

    def __init__(self, model: nn.Module, options: Options) -> None:
        super().__init__(model)
        own = self.__dict__
        own["_options"] = options
        own["_compiled"], own["_direct"], own["_lock"] = None, Direct(), threading.RLock()
        own["_parts"], own["_dtype"] = None, options.dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As nn.Module.__call__, without its cost where no hook is set: a direct plan call takes a few us."""
        hooks = self._forward_hooks or self._forward_pre_hooks
        if len(args) == 1 and not (kwargs or hooks or is_dynamo_compiling()):
            x = args[0]
            if self._dtype is not None and type(x) is Tensor:
                x = self._options.cast(x)
            result = self._direct.run(x)
            if result is not None:
                return result
        return super().__call__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model = self._model
        if model.training or torch.compiler.is_compiling() or torch_watches():
            return model(*args, **kwargs)
        compiled, reason = self._current(args, kwargs)
        needs = torch.is_grad_enabled() and needs_gradient(model, args, kwargs)
        if compiled is None and self._dtype is not None:
            raise NotImplementedError(f"optimize: dtype={self._dtype} needs a plan: {reason}")
        if (
            compiled is None
        ):  # gradients would not be the model's bits: each part sees what a fast one made
            return model(*args, **kwargs) if needs else self._in_parts()(*args, **kwargs)
        if needs:
            return recompute(model, compiled, args, kwargs)
        inputs = compiled.inputs(args, kwargs)
        return self._run(compiled, inputs)

    def _run(self, compiled: Compiled, inputs: list[Tensor]) -> Any:
        result = compiled.run(inputs)
        x = inputs[0] if len(inputs) == 1 else None
        if type(x) is Tensor and compiled.takes_tensor and not torch.is_grad_enabled():
            call = compiled.program.call_for(x)
            # Where another thread captures, a later call will add it.
            if call is not None and self._lock.acquire(blocking=False):
                try:
                    self._direct.add(x, compiled.guard, call, compiled.program.keeps)
                finally:
                    self._lock.release()
        return result

    def _note_match(self, state: State, match: Compiled | None, reason: str | None) -> None:
        """Have `explain` tell of this call; not while another thread captures, which will tell of its own."""
        told = state.match is match and state.reason == reason
        if not told and self._lock.acquire(blocking=False):
            try:
                if self._compiled is state:
                    self.__dict__["_compiled"] = replace(state, match=match, reason=reason)
            finally:
                self._lock.release()

    def _in_parts(self) -> nn.Module:
        """The model, its submodules optimised by themselves."""
        if not any(self._model.children()) or isinstance(self._model, torch.jit.ScriptModule):
            model: nn.Module = self._model
            return model
        parts = self._parts
        if parts is None:
            with self._lock:
                parts = self._parts or Parts(self._model, lambda m: _Part(m, self._options))
                self.__dict__["_parts"] = parts
        twin: nn.Module = parts.twin
        return twin

    def _current(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Compiled | None, str | None]:
        """The graph that holds for these arguments, captured if none does; or None and why the model runs as it is."""
        state = self._compiled
        known = None if state is None else known_match(state, args, kwargs)
        if known is not None:  # no waiting for another thread's capture
            self._note_match(state, *known)
        else:
            with self._lock:
                found = compile_model(self._model, self._options, self._compiled, args, kwargs)
                self._direct.retain([graph.guard for graph in found.graphs])
                self.__dict__["_compiled"] = found
                known = found.match, found.reason
        if known[0] is None:
            if self._options.strict:
                raise NotImplementedError(f"strict: the model runs in torch: {known[1]}")
            log.debug("the model runs as it is: %s", known[1])
        return known

    def warmup(self, *inputs: Sequence[int] | Tensor | tuple[Any, ...]) -> None:
        """Capture, pack and plan now what the first call with each of these inputs would; on a GPU also record the
        CUDA graph, as the second call would.

        Args:
            inputs: of one call each: the shape of its one input, as ``(8, 3, 224, 224)``, of the dtype and on the
                device of the model's parameters, or the input itself; or a tuple of several arguments, each of these.

        Raises:
            TypeError: an input is none of these. ValueError: the module is in training mode, or a size is not positive.
        """
        if self.training:
            raise ValueError(
                "warmup: the module is in training mode and runs as torch; call .eval()"
            )
        with torch.inference_mode():
            for each in inputs:
                several = isinstance(each, (tuple, list)) and not is_shape(each)
                args = [filled(value, self._model) for value in (each if several else [each])]
                self(*args)
                if self._replays():
                    self(*args)

    def _replays(self) -> bool:
        """Whether the plan of the last call may be recorded at its next one."""
        state = self.__dict__["_compiled"]
        return bool(state and state.match and state.match.program.target().replays)

    def promote(self, paths: Iterable[str]) -> None:
        """Compute the layers of the modules at these paths in fp32 from now on; for a module optimised in a narrower
        dtype. `verify(..., auto_promote=True)` finds those that need it.

        Raises:
            ValueError: the model has no module at a path.
        """
        found = frozenset(paths)
        unknown = found - {path for path, _ in self._model.named_modules()}
        if unknown:
            raise ValueError(f"promote: the model has no module {min(unknown)!r}")
        promoted = self._options.promoted | found
        self.__dict__["_options"] = replace(self._options, promoted=promoted)
        self.refresh()

    def refresh(self) -> None:
        """Forget every folded weight, graph and plan; for weight edits that leave no trace."""
        with self._lock:
            if isinstance(self._model, SavedNetwork):
                self._model.stored = None
            self.__dict__["_compiled"] = self.__dict__["_parts"] = None
            self._direct.keep({})

    def __deepcopy__(self, memo: dict[int, Any]) -> OptimizedModule:
        return OptimizedModule(copy.deepcopy(self._model, memo), self._options)

    def __copy__(self) -> OptimizedModule:
        return OptimizedModule(self._model, self._options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"an optimised {type(self._model).__name__} is not pickled: pycnn.save(fast, path) writes the network, "
            "pycnn.load(path) runs it without its code; torch.save(fast.state_dict(), path) writes its weights alone"
        )

    def extra_repr(self) -> str:
        return f"optimized {type(self._model).__name__}"


class _Part(OptimizedModule):
    """A submodule within its model, whose code may ask for its class, iterate over it or take entries of it."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance() looks at besides the type
        return type(self.__dict__["_model"])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._model)

    def __len__(self) -> int:
        return len(self._model)

    def __getitem__(self, index: Any) -> Any:
        return self._model[index]

    def __bool__(self) -> bool:
        return True


def optimize(
    model: nn.Module | ExportedProgram,
    *,
    exact: bool = False,
    strict: bool = False,
    batch_invariant: bool = False,
    threads: int | None = None,
    tune: bool = False,
    dtype: torch.dtype | None = None,
    memory_limit: int | None = None,
) -> OptimizedModule:
    """A module that computes what `model` computes in eval, several times faster.

    Equivalent to: ``model`` itself (same inputs, outputs, memory formats, state_dict, gradients).

    Lazy: the first call captures and plans; other sizes are planned when first seen. ``model`` is not changed, and
    stays alive inside: both see the same parameters. In ``train()`` the result is the original module; in eval with
    gradients enabled the forward is fast and backward recomputes through the original module.

    Args:
        model: any nn.Module (a torch.fx.GraphModule too); call ``model.eval()`` to get the fast path. A
            torch.export.ExportedProgram runs as it was exported, for the sizes it was exported for.
        exact: forbid algorithms that re-associate products (Winograd): max|y - ref| / max|ref| against the model in
            fp64 is then within 1e-5 instead of 1e-4 (or 3 times torch's own error, whichever is larger).
        strict: raise NotImplementedError, naming the ops, where something would run in torch.
        batch_invariant: an image's result has the same bits whatever else is in the batch and however many threads run.
            Without it another batch may get another algorithm.
        threads: at most this many; default torch.get_num_threads(). Never more than the usable cores.
        tune: the first call with each size measures, for some seconds, which kernel is fastest for each step on this
            machine. The choices are kept in $PYCNN_TUNED (default ~/.cache/pycnn/tuned.json) by processor, threads and
            problem, and used from there by every plan made later, with or without `tune`. On a GPU, by its name and
            compute capability; torch's own convolution is among the kernels there.
        dtype: as ``model.to(dtype)``: torch.bfloat16, torch.float16 or torch.float32. Floating-point inputs are cast,
            outputs are of that dtype; sums are fp32. `model` keeps its own, in which it trains and gradients are taken.
            bf16 has kernels on the CPU (from AVX2 on; faster than fp32 with AVX-512 BF16) and on CUDA. A model that has
            no plan as a whole is refused with NotImplementedError at its call.
        memory_limit: bytes that a call may take for what passes between layers, with the workspaces of kernels; its
            inputs, results and the weights come on top. A plan that needs more is made again: the layers in another
            order, the images in turns, layers in bands of rows, which costs some time and changes no bit; then with
            kernels of smaller workspaces, then on one thread. Known before anything runs: what an op that torch runs
            returns is counted, what it needs meanwhile is not, nor is a model that runs as torch.

    Raises:
        TypeError: model is neither an nn.Module nor an ExportedProgram, dtype no torch.dtype, or memory_limit no int.
            ValueError: threads or memory_limit is not positive; another dtype; one that a saved network does not have;
            or tune with batch_invariant, which chooses without regard to the batch and the threads, or with
            memory_limit. MemoryLimitError, from a call: it would need more than memory_limit; says how much.
    """
    module = module_of(model) if isinstance(model, ExportedProgram) else model
    if not isinstance(module, nn.Module):
        raise TypeError(f"optimize: model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(module, OptimizedModule):
        module = module._model
    options = Options(strict, threads, exact, batch_invariant, tune, dtype, memory_limit)
    options.check(module)
    return OptimizedModule(module, options)
