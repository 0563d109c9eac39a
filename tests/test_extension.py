"""The compiled part by itself: instruction sets, plans, the thread pool, the process it lives in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

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


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )


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


def test_one_openmp_runtime_in_the_process() -> None:
    pycnn.ops.conv2d(torch.randn(1, 16, 64, 64), torch.randn(64, 16, 3, 3))
    maps = Path("/proc/self/maps").read_text().splitlines()
    runtimes = {line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line}
    # scikit-learn and others may bring their own; ours must be torch's.
    assert [r for r in runtimes if "torch" in r], runtimes
    done = python(
        "import torch, pycnn\n"
        "pycnn.ops.conv2d(torch.randn(1, 16, 64, 64), torch.randn(64, 16, 3, 3))\n"
        "print(len({l.split()[-1] for l in open('/proc/self/maps') if 'omp' in l.split('/')[-1]}))"
    )
    assert done.stdout.strip() == "1", done.stdout + done.stderr


def test_the_callers_float_mode_is_restored() -> None:
    tiny = torch.tensor([1e-39])
    assert (tiny / 2).item() != 0
    pycnn.ops.conv2d(torch.randn(1, 16, 64, 64), torch.randn(64, 16, 3, 3))
    assert (tiny / 2).item() != 0


def test_subnormal_results_are_flushed() -> None:
    x = torch.full((1, 8, 4, 4), 1e-20)
    y = pycnn.ops.conv2d(x, torch.full((8, 8, 1, 1), 1e-20))
    assert torch.equal(y, torch.zeros_like(y))


def test_idle_workers_sleep() -> None:
    """After a call the pool spins 100 us at most: 0.2 s of pause must cost nearly no CPU time."""
    done = python(
        "import time, torch, pycnn\n"
        "fast, x = pycnn.optimize(pycnn.create_model('small_cnn').eval()), torch.randn(8, 3, 32, 32)\n"
        "with torch.inference_mode():\n"
        "    for _ in range(20): fast(x)\n"
        "    start = time.process_time()\n"
        "    for _ in range(10): time.sleep(0.02)\n"
        "print(time.process_time() - start)"
    )
    assert float(done.stdout) < 0.1, done.stdout + done.stderr


STREAK = """
import time, torch
from pycnn import _C

def small_plan(wakes):
    plan = _C.Plan(0, 0, 2, 1, 1, True, None, wakes)
    params, none = {"pixels": 256, "c": 16, "ldx": 16, "ldy": 16, "act": 1}, ("none", 0)
    step = ("elementwise", "elementwise_reference", params, ("input", 0), none, none, none)
    plan.add(*step, ("output", 0))
    return plan

x, y = torch.randn(256, 16), torch.empty(256, 16)
addresses = [x.data_ptr()], [y.data_ptr()]

def workers_of(plan):
    y.fill_(torch.nan)
    begins = plan.run_timed(*addresses)[::2]
    assert torch.equal(y, x.relu())
    return sum(begin > 0 for begin in begins)

always, small = small_plan(True), small_plan(False)
assert workers_of(always) == 2
for _ in range(3):
    time.sleep(0.02)  # the pool's thread sleeps
    assert workers_of(small) == 1
# On a busy machine the woken thread may sleep again before it is looked at.
until, shared = time.monotonic() + 60, False
while not shared and time.monotonic() < until:
    for _ in range(200):
        small.run(*addresses)
        shared = shared or all(small.run_timed(*addresses)[::2])
assert shared and torch.equal(y, x.relu())
time.sleep(0.02)
assert workers_of(always) == 2
"""


def test_small_work_does_not_wake_sleepers_but_a_streak_does() -> None:
    """In a process of its own: all the pool's threads must be awake; other tests leave more than there are cores."""
    done = python(STREAK)
    assert done.returncode == 0, done.stderr


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
