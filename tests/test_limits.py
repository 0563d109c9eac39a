"""Measured limits: what the figures count, and the roof made of them. No time is asserted."""

from dataclasses import replace

import pytest

from pycnn import _C
from pycnn.limits import Limits, better, limits, remeasure
from pycnn.planning.cpu import runs_bf16

MIB = 1 << 20
ROOF = Limits(
    threads=2, isa="avx2", fma_flops=100e9, fma_1_flops=50e9,
    l2_bytes_s=80e9, l3_bytes_s=40e9, dram_bytes_s=10e9,
    l2_copy_bytes_s=60e9, l3_copy_bytes_s=30e9, dram_copy_bytes_s=9e9,
    l2_size_bytes=MIB, l3_size_bytes=32 * MIB,
)  # fmt: skip


def test_every_rate_is_measured_and_goes_through_json():
    found = limits(1)
    data = found.to_dict()
    assert Limits(**data) == found
    assert found.threads == 1 and found.isa == _C.machine()["isa"]
    assert all(value > 0 for key, value in data.items() if key != "isa")
    assert found.fma_1_flops == found.fma_flops  # one thread is measured once
    # a core of any machine does over 1 GFLOP/s and under 1 TFLOP/s of fp32; copies count both directions
    assert 1e9 < found.fma_flops < 1e12
    assert 1e8 < found.dram_bytes_s < 1e12


def test_products_of_bf16_have_a_rate_of_their_own():
    if runs_bf16():
        half = limits(1, "bfloat16")
        assert half.isa == f"{limits(1).isa} bfloat16" and half.fma_flops > 0
    else:
        with pytest.raises(ValueError, match="no kernels of bfloat16"):
            limits(1, "bfloat16")
    with pytest.raises(ValueError, match="no kernels of dtype 'int8'"):
        limits(1, "int8")


def test_a_process_measures_each_thread_count_once(monkeypatch):
    first = limits(1)
    monkeypatch.setattr(_C, "measure_fma", lambda workers, dtype: pytest.fail("measured again"))
    assert limits(1) is first


def test_remeasure_keeps_the_better_of_each(monkeypatch):
    first = limits(1)
    monkeypatch.setattr(_C, "measure_fma", lambda workers, dtype: 2 * first.fma_flops)
    monkeypatch.setattr(_C, "measure_read", lambda workers, bytes: 1.0)
    monkeypatch.setattr(_C, "measure_copy", lambda workers, bytes: 1.0)
    again = remeasure(1)
    assert again == replace(first, fma_flops=2 * first.fma_flops, fma_1_flops=2 * first.fma_flops)


def test_the_roof_is_the_slower_of_arithmetic_and_memory():
    assert ROOF.bytes_s(2 * MIB) == 80e9  # both threads' L2 together
    assert ROOF.bytes_s(2 * MIB + 1) == 40e9
    assert ROOF.bytes_s(33 * MIB) == 10e9
    assert ROOF.least_seconds(100e9, 1 * MIB) == 1.0
    assert ROOF.least_seconds(1, 8e5) == 1e-5
    assert ROOF.least_seconds(1, 8e5, resident_bytes=64 * MIB) == 8e-5


def test_limits_of_different_kinds_do_not_mix():
    with pytest.raises(ValueError, match="2 threads, avx2 and of 4 threads, avx2"):
        better(ROOF, replace(ROOF, threads=4))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_a_wrong_thread_count_is_one_sentence(threads):
    with pytest.raises(ValueError, match=f"limits: threads={threads}"):
        limits(threads)
