"""A record of the benchmark as tests write it."""

from pycnn.limits import Limits
from pycnn.timing import Failure, Record, Timing, Workload

ROOF = Limits(
    threads=2, isa="avx2", fma_flops=100e9, fma_1_flops=50e9,
    l2_bytes_s=80e9, l3_bytes_s=40e9, dram_bytes_s=10e9,
    l2_copy_bytes_s=60e9, l3_copy_bytes_s=30e9, dram_copy_bytes_s=9e9,
    l2_size_bytes=1 << 20, l3_size_bytes=32 << 20,
)  # fmt: skip
ONE, EIGHT = Workload("resnet18", 1), Workload("resnet18", 8)
ROW = {
    "network": "resnet18", "name": "conv1", "op": "conv2d", "times": 2, "batch": 1, "size": "9x9 8 -> 8 3x3",
    "kernel": "conv2d_igemm", "min_s": 2e-3, "p20_s": 3e-3, "flops": 10**8, "bytes": 10**5, "error": 1e-7,
}  # fmt: skip


def timing(workload, engine, p20, **more):
    return Timing(workload, engine, 0.9 * p20, p20, 1.1 * p20, 100, 1e-7, **more)


def make_record():
    timings = (
        timing(ONE, "torch NHWC", 0.030, second_shape_s=0.004),
        timing(ONE, "OpenVINO", 0.020, build_s=2.0, first_call_s=0.522),
        timing(ONE, "OpenVINO throughput", 0.008, requests=2),
        timing(ONE, "pycnn", 0.010, second_shape_s=0.005, peak_bytes=100 << 20),
        timing(EIGHT, "torch NHWC", 0.3),
        timing(EIGHT, "pycnn exact", 0.15),
        timing(EIGHT, "pycnn", 0.1),
    )
    failure = Failure(EIGHT, "OpenVINO", "resnet18, batch 8: OpenVINO: RuntimeError: no")
    versions = {"pycnn": "0.1", "torch": "2.13"}
    return Record(
        "2026-01-02T03:04:05+00:00", "A processor", 2, versions, ROOF, 4, 0.5, timings, (failure,),
        {"resnet18": 3 * 10**8}, (ROW,),
    )  # fmt: skip


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]
