"""Engines timed in processes of their own: real processes with few turns; a fake worker where figures are checked."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from pycnn.demo.compare import speedup
from pycnn.models import plain_torch
from pycnn.processor import cpu_name
from pycnn.timing import (
    ENGINES,
    TORCH_ENGINES,
    Failure,
    Listener,
    Record,
    Timing,
    Workload,
    available,
    compare,
    find_engines,
    measure,
    networks,
    process,
    record,
    rounds,
)
from pycnn.timing.engines import OURS
from pycnn.timing.facts import Load, peak_bytes, versions
from pycnn.timing.worker import worst_error

LENET = Workload("lenet_like", 1)


class FakeWorker:
    """Answers 1 ms, 2 ms, ... 9 ms, 41 ms, and notes what it was asked."""

    asked: list[tuple[str, str]] = []

    def __init__(self, engine, threads):
        self.engine = engine

    def ask(self, do, **request):
        FakeWorker.asked.append((do, self.engine))
        if do == "build":
            return {"error": 0.5, "requests": 1, "build_s": 2.0, "first_call_s": 1.006}
        if do == "end":
            return {"peak_bytes": 7, "second_shape_s": 0.25}
        return {
            "seconds": [0.041] + [i / 1000 for i in range(9, 0, -1)],
            "wall_s": 2.0,
            "foreign_s": 0.5,
        }

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    monkeypatch.setattr(rounds, "PAUSE", 0)
    monkeypatch.setattr(FakeWorker, "asked", [])
    return FakeWorker


def test_turns_go_forwards_and_backwards_and_all_calls_count(fake):
    turns, built = [], []
    listener = Listener(
        on_turn=lambda: turns.append(1), on_build=lambda workload, engine: built.append(engine)
    )
    found = compare([Workload("small_cnn", 1)], rounds=2, listener=listener)
    names = list(TORCH_ENGINES)
    assert [name for do, name in fake.asked if do == "turn"] == names + names[::-1]
    assert len(turns) == 2 * len(names) and built == names
    first = found[0]
    assert (first.min_s, first.p20_s, first.median_s) == (0.001, 0.003, 0.006)
    assert (first.calls, first.error, first.stalls) == (20, 0.5, 2)
    assert (first.peak_bytes, first.second_shape_s, first.foreign_cpus) == (7, 0.25, 0.25)
    assert first.setup_s == pytest.approx(3.0)
    assert speedup(first, found) == 1.0


def test_an_engine_that_fails_is_raised_or_noted_and_the_others_go_on(fake, monkeypatch):
    plain = FakeWorker.ask

    def ask(self, do, **request):
        if self.engine == "torch NHWC":
            raise process.EngineError("torch NHWC: TypeError: no")
        return plain(self, do, **request)

    monkeypatch.setattr(FakeWorker, "ask", ask)
    with pytest.raises(RuntimeError, match=r"timing: lenet_like, batch 1: torch NHWC: TypeError"):
        compare([LENET], rounds=1)
    failures = []
    found = compare([LENET], rounds=1, listener=Listener(on_failure=failures.append))
    assert [t.engine for t in found] == ["torch NCHW", "pycnn"]
    assert failures == [
        Failure(LENET, "torch NHWC", "lenet_like, batch 1: torch NHWC: TypeError: no")
    ]


def test_an_interrupted_measurement_has_saved_what_it_had(fake, tmp_path):
    path = tmp_path / "record.json"

    def interrupt(timing):
        if timing.workload.model == "small_cnn":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(
            [LENET, Workload("small_cnn", 1)], engines=TORCH_ENGINES, threads=1, rounds=1,
            seconds=0.0, listener=Listener(on_timing=interrupt), path=path,
        )  # fmt: skip
    saved = Record.load(path)
    assert [t.workload.model for t in saved.timings] == ["lenet_like"] * 3
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.fixture(scope="module")
def lenet_record(tmp_path_factory):
    """Every engine of this machine but torch.compile (tens of seconds), in real processes."""
    path = tmp_path_factory.mktemp("bench") / "record.json"
    engines = [name for name in available() if not name.startswith("torch.compile")]
    found = measure(
        [LENET], engines=engines, threads=1, rounds=1, seconds=0.0, listener=Listener(), path=path
    )
    return found, path


def test_every_engine_computes_the_network(lenet_record):
    found, _ = lenet_record
    assert not found.failures
    assert [t.engine for t in found.timings] == [
        n for n in available() if not n.startswith("torch.compile")
    ]
    for t in found.timings:
        assert 0 < t.error <= (1e-5 if ENGINES[t.engine].dtype == "float32" else 2e-2)
        assert 0 < t.min_s <= t.p20_s <= t.median_s and t.calls >= 3
        assert 50e6 < t.peak_bytes < 4e9
        assert (t.second_shape_s is not None) == (t.engine in (*TORCH_ENGINES, *OURS, "torch bf16"))
        assert t.first_call_s > 0 and t.build_s > 0


def test_a_record_goes_through_json(lenet_record, tmp_path):
    found, path = lenet_record
    assert Record.load(path) == found
    data = json.loads(path.read_text())
    assert data["format"] == record.FORMAT
    assert data["limits"]["threads"] == data["threads"] == 1
    assert data["versions"]["torch"] == torch.__version__
    assert Timing.from_dict(json.loads(json.dumps(asdict(found.timings[0])))) == found.timings[0]
    (tmp_path / "other.json").write_text('{"timings": []}')
    with pytest.raises(
        ValueError, match=r"other.json: not a record of this benchmark: format None"
    ):
        Record.load(tmp_path / "other.json")


def test_flops_count_a_multiply_add_as_two(lenet_record):
    flops = networks.flops_per_image(LENET)
    net = networks.make_network("lenet_like")
    macs = []

    def count(module, inputs, output):
        macs.append(output.numel() * module.weight[0].numel())

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with plain_torch(), torch.no_grad():
        net(torch.zeros(1, 1, 28, 28))
    assert flops == 2 * sum(macs) == lenet_record[0].flops["lenet_like"]


def test_a_disturbed_run_says_so(lenet_record):
    quiet = replace(lenet_record[0].timings[0], calls=100, stalls=5, foreign_cpus=0.01)
    base = replace(lenet_record[0], threads=2, timings=(quiet,))
    assert base.disturbances() == []
    stalled = replace(base, timings=(replace(quiet, stalls=6),))
    assert stalled.disturbances() == [
        "lenet_like, batch 1, torch NCHW: 6 of 100 calls took over twice the median"
    ]
    busy = replace(base, timings=(replace(quiet, foreign_cpus=0.5),))
    assert busy.disturbances() == [
        "lenet_like, batch 1, torch NCHW: others used 0.50 processors meanwhile"
    ]


def test_load_is_the_work_of_others_and_stolen_time():
    before, after = Load(10.0, 1.0), Load(13.0, 1.5)
    assert after.foreign_s(before, own_s=2.0) == 1.5
    assert after.foreign_s(before, own_s=4.0) == 0.5  # 10 ms ticks: never below the stolen time
    assert Load.now().busy_s > 0


def test_facts_of_this_machine():
    assert "(family" in cpu_name()
    assert versions()["torch"] == torch.__version__
    before = peak_bytes()
    block = bytearray(300 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_bytes() >= before + (100 << 20) or before > (300 << 20)


def test_an_interrupt_ends_the_workers(monkeypatch):
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(process.subprocess, "Popen", Noted)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([LENET], seconds=0.0, listener=Listener(on_turn=interrupt))
    assert len(started) == len(TORCH_ENGINES)
    assert all(child.returncode is not None for child in started)


def test_a_dead_or_failing_worker_and_unknown_names_are_one_sentence(tmp_path):
    with process.Worker("pycnn", 1) as worker:
        with pytest.raises(process.EngineError, match=r"^pycnn: ValueError: unknown model 'no'"):
            worker.ask("build", workload={"model": "no", "batch": 1}, expected="")
        worker.process.kill()
        with pytest.raises(
            process.EngineError, match="the process of 'pycnn' ended with status -9"
        ):
            worker.ask("turn", seconds=0.0)
    with pytest.raises(ValueError, match="unknown model 'resnet19'"):
        compare([Workload("resnet19", 1)])
    with pytest.raises(ValueError, match="unknown engine 'tensorrt'"):
        compare([LENET], engines=["tensorrt"])
    for text, sentence in (
        ("lenet_like:0", "the batch must be a positive integer"),
        ("lenet_like:", "the batch must be a positive integer"),
        ("lenet_like:1:x", "the size must be a positive integer or HEIGHTxWIDTH"),
        ("lenet_like:1:", "the size must be"),
        ("lenet_like:1:28x", "the size must be"),
        ("lenet_like:1:28x0", "the size must be"),
        ("lenet_like:1:28x28x1", "the size must be"),
        ("lenet_like:1:28:1", "there is more than NETWORK:BATCH:SIZE"),
    ):
        with pytest.raises(ValueError, match=f"^workload '{text}': {sentence}"):
            Workload.parse(text)
    done = subprocess.run(
        [sys.executable, "-m", "pycnn.timing", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("usage: ")


def test_engines_are_found_by_name_and_word_and_say_what_they_need(monkeypatch):
    assert find_engines(["pycnn", "torch-nchw"]) == ["torch NCHW", "pycnn"]
    assert find_engines(["all"]) == available()
    with pytest.raises(ValueError, match=r"unknown engine 'tvm': one of all, torch-nchw"):
        find_engines(["tvm"])
    missing = replace(ENGINES["OpenVINO"], needs=("openvino_that_is_not_there",))
    monkeypatch.setitem(ENGINES, "OpenVINO", missing)
    with pytest.raises(
        RuntimeError, match=r"OpenVINO needs openvino_that_is_not_there: pip install"
    ):
        find_engines(["openvino"])
    assert "OpenVINO" not in available()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"torch.compile needs a C\+\+ compiler"):
        find_engines(["torch.compile"])


def test_a_wrong_result_shows_as_an_error_and_a_wrong_shape_fails():
    ref = [torch.tensor([1.0, -2.0]), torch.tensor([4.0])]
    assert worst_error([ref[0].clone(), ref[1] + 1], ref) == 0.25
    with pytest.raises(RuntimeError, match=r"outputs of shapes \[\[2\]\], where torch's have"):
        worst_error([ref[0]], ref)


@pytest.mark.slow
def test_torch_compile_computes_the_network():
    with rounds._expected(LENET) as expected, process.Worker("torch.compile", 1) as worker:
        built = worker.ask("build", workload=asdict(LENET), expected=str(expected))
        assert worker.ask("end")["second_shape_s"] is None
    assert 0 < built["error"] <= 1e-5
