"""What runs beside is left alone: one OpenMP runtime, idle threads sleep, the caller's floating-point mode stays."""

from __future__ import annotations

from pathlib import Path

import torch
from interpreter import python

import pycnn


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


SMALL = """
import os, time, torch
from pycnn import _C

def small_plan(wakes, steps=1):
    plan = _C.Plan(0, 0, 2, 1, 1, True, None, wakes)
    params, none = {"pixels": 256, "c": 16, "ldx": 16, "ldy": 16, "act": 1}, ("none", 0)
    step = ("elementwise", "elementwise_reference", params, ("input", 0), none, none, none)
    for _ in range(steps):
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
"""

STREAK = (
    SMALL
    + """
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
)

ONE_CPU = (
    SMALL
    + """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), os.sched_getaffinity(0))
plan = small_plan(True, steps=21)
start = time.process_time()
for _ in range(100):
    plan.run(*addresses)
print(time.process_time() - start)
assert torch.equal(y, x.relu()) and workers_of(small) == 1
"""
)


def test_small_work_does_not_wake_sleepers_but_a_streak_does() -> None:
    """In a process of its own: all the pool's threads must be awake; other tests leave more than there are cores."""
    done = python(STREAK)
    assert done.returncode == 0, done.stderr


def test_threads_on_one_cpu_do_not_spin_for_each_other() -> None:
    """As the scheduler may have them on a busy machine. 4096 turns at each of 2000 barriers were 0.2 s."""
    done = python(ONE_CPU)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1
