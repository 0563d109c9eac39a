"""Engines that pycnn is compared with and never needs itself: torch.compile, ONNX Runtime, OpenVINO.

Each is given its best case: a network exported or compiled for this one shape, weights frozen, inputs in place, outputs
not copied where the engine can do without; fp32 arithmetic throughout, unless the engine is one of bf16.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ready:
    """A network an engine is ready to run.

    Attributes:
        call: runs it on the input it was built with.
        tensors: what `call` returned, as the network's output tensors in order.
        requests: how many inferences one `call` does at a time.
        module: takes inputs of other shapes too; None: built for one.
    """

    call: Callable[[], Any]
    tensors: Callable[[Any], list[Tensor]]
    requests: int = 1
    module: nn.Module | None = None


def inductor(net: nn.Module, x: Tensor, threads: int) -> Ready:
    """torch.compile with frozen weights, channels_last; compiles at the first call."""
    from torch._inductor import config
    from torch.utils._pytree import tree_leaves

    config.freezing = True
    # What an earlier run left on the disk would be credited to this one.
    config.force_disable_caches = True
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = torch.compile(net)
    return Ready(partial(compiled, x.contiguous(memory_format=torch.channels_last)), tree_leaves)


def onnx_runtime(net: nn.Module, x: Tensor, threads: int) -> Ready:
    """torch's exporter, then ONNX Runtime with all graph optimisations."""
    import onnxruntime

    program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: x.numpy()}
    return Ready(
        partial(session.run, None, feed), lambda arrays: [torch.from_numpy(a) for a in arrays]
    )


def _openvino(net: nn.Module, x: Tensor, threads: int, hint: str, precision: str = "f32") -> Any:
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino

    model = openvino.convert_model(net, example_input=x, input=[tuple(x.shape)])
    settings = {
        "PERFORMANCE_HINT": hint,
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
    }
    return openvino.Core().compile_model(model, "CPU", settings)


def _results(request: Any) -> list[Tensor]:
    return [torch.from_numpy(t.data.copy()) for t in request.output_tensors]


def openvino_latency(net: nn.Module, x: Tensor, threads: int, precision: str = "f32") -> Ready:
    """OpenVINO's own frontend for torch, one request at a time on all threads."""
    request = _openvino(net, x, threads, "LATENCY", precision).create_infer_request()
    run = partial(request.infer, [x.numpy()], share_inputs=True, share_outputs=True)
    return Ready(run, lambda _: _results(request))


def openvino_bf16(net: nn.Module, x: Tensor, threads: int) -> Ready:
    """The same, computing in bf16 from fp32 weights and inputs."""
    return openvino_latency(net, x, threads, "bf16")


def openvino_throughput(net: nn.Module, x: Tensor, threads: int) -> Ready:
    """The same with as many requests in flight as OpenVINO finds best."""
    compiled = _openvino(net, x, threads, "THROUGHPUT")
    count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests = [compiled.create_infer_request() for _ in range(count)]

    def run() -> None:
        for request in requests:
            request.start_async([x.numpy()], share_inputs=True)
        for request in requests:
            request.wait()

    return Ready(run, lambda _: _results(requests[-1]), requests=count)
