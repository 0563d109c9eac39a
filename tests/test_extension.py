"""The compiled part by itself: instruction sets, plans, the thread pool, the process it lives in."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from interpreter import python

import pycnn
from pycnn import _C

NONE = ("none", 0)
SCRIPT = """
import torch
from nets import Branches, error, fast, settle, truth
import pycnn
torch.manual_seed(0)
net, x = settle(Branches()), torch.randn(2, 3, 21, 17)
kernels = {s.kernel.rsplit("_", 1)[1] for s in pycnn.explain(pycnn.optimize(net), x).steps if s.kernel}
assert error(fast(net, x), truth(net, x)) <= 1e-5
print(*sorted(kernels))
"""


@pytest.mark.parametrize("isa", _C.machine()["isas"])
def test_each_instruction_set_runs_whole_networks(isa: str) -> None:
    done = python(SCRIPT, PYCNN_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa]


def test_an_unknown_instruction_set_is_one_sentence() -> None:
    done = python("import pycnn._C as C; C.machine()", PYCNN_ISA="mmx")
    assert done.returncode != 0
    assert "PYCNN_ISA=mmx is not one of baseline, avx2, avx512" in done.stderr


def test_tables_end_with_the_reference() -> None:
    for op in _C.ops():
        names = [name for name, _ in _C.kernels(op, {})]
        assert names[-1] == f"{op}_reference" and len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _C.kernels("conv9d", {}), "no op named 'conv9d'"),
        (lambda: _C.kernels("conv2d", {"strid": 1}), "no parameter named 'strid'"),
        (lambda: _C.pack("conv2d", "fastest", {}, 0, 0), "no kernel named 'fastest'"),
        (lambda: _C.Plan(-1, 0, 1, 1, 1), "must not be negative"),
        (lambda: _C.Plan(0, 0, 1, 1, 1).run([], []), "expected 1 inputs and 1 outputs"),
    ],
)
def test_misuse_is_an_exception(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_plan_checks_its_slots_and_workspace() -> None:
    plan = _C.Plan(64, 0, 1, 1, 1)
    params = {"pixels": 1, "c": 4, "ldx": 4, "ldy": 4}
    with pytest.raises(ValueError, match="out of range"):
        plan.add(
            "elementwise",
            "elementwise_reference",
            params,
            ("input", 1),
            NONE,
            NONE,
            NONE,
            ("output", 0),
        )
    with pytest.raises(ValueError, match="unknown slot kind 'heap'"):
        plan.add(
            "elementwise",
            "elementwise_reference",
            params,
            ("heap", 1),
            NONE,
            NONE,
            NONE,
            ("output", 0),
        )
    conv = {"c": 16, "k": 16, "ldx": 16, "ldy": 16}
    kernel = next(n for n, r in _C.kernels("conv2d", conv) if r is None and "igemm" in n)
    with pytest.raises(ValueError, match="bytes of workspace"):
        plan.add("conv2d", kernel, conv, ("input", 0), NONE, NONE, NONE, ("output", 0))
    with pytest.raises(ValueError, match="refuses: needs an NHWC input"):
        plan.add(
            "conv2d", kernel, {**conv, "x_nchw": 1}, ("input", 0), NONE, NONE, NONE, ("output", 0)
        )


@pytest.mark.parametrize("name", ["small_cnn", "lenet_like"])
def test_calls_from_threads_do_not_deadlock(name: str) -> None:
    net = pycnn.create_model(name).eval()
    c, size = (1, 28) if name == "lenet_like" else (3, 32)
    fast, x = pycnn.optimize(net, threads=2), torch.randn(1, c, size, size)
    with torch.inference_mode():
        y = fast(x)
    wrong = []

    def work() -> None:
        until = time.monotonic() + 0.5
        with torch.inference_mode():
            while time.monotonic() < until:
                if not torch.equal(fast(x), y):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=60)
        assert not t.is_alive()
    assert not wrong


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "small_cnn", "basic_cnn"])
def test_eager_ops_and_the_plan_are_bit_equal(name: str) -> None:
    """The zoo's forward calls the same kernels one by one; eager calls, which pack each time, never Winograd."""
    net = pycnn.create_model(name).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        for fmt in (torch.contiguous_format, torch.channels_last):
            view = x.to(memory_format=fmt)
            assert torch.equal(net(view), pycnn.optimize(net, exact=True)(view))
