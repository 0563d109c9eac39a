"""The demo and its timing, in small: real training, real processes, few turns."""

import json
import os
import signal
import time

import pytest
import torch
from rich.console import Console

from pycnn import files
from pycnn.demo import plot, run_demo
from pycnn.demo.compare import WORKLOADS, train_and_compare
from pycnn.demo.digits import load_digits
from pycnn.extras import ctrl_c_waits
from pycnn.timing import TORCH_ENGINES


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return run_demo(Console(stderr=True), out=out, rounds=1, seconds=0.0)


def test_digits_are_split_by_class_and_disjoint():
    digits = load_digits()
    assert digits.train_x.shape == (1437, 1, 28, 28)
    assert digits.test_x.shape == (360, 1, 28, 28)
    assert digits.train_x.min() >= -1 and digits.train_x.max() <= 1
    share = digits.train_y.bincount() / len(digits.train_y) - digits.test_y.bincount() / len(
        digits.test_y
    )
    assert share.abs().max() < 0.005
    train = {x.numpy().tobytes() for x in digits.train_x}
    assert not any(x.numpy().tobytes() in train for x in digits.test_x)
    again = load_digits()
    assert torch.equal(again.test_x, digits.test_x) and torch.equal(again.train_y, digits.train_y)


def test_accuracy_and_equal_predictions(result):
    found = result.comparison
    assert found.images == len(found.predictions) == 360
    assert found.accuracy_torch == found.accuracy_pycnn >= 0.97
    assert found.different == 0
    assert found.error_pycnn <= 1e-5
    right = (torch.tensor(found.predictions) == load_digits().test_y).double().mean()
    assert float(right) == found.accuracy_pycnn


def test_every_engine_ran_every_workload_exactly(result):
    rows = [(t.workload, t.engine) for t in result.timings]
    assert rows == [(workload, engine) for workload in WORKLOADS for engine in TORCH_ENGINES]
    for t in result.timings:
        assert 0 < t.min_s <= t.p20_s <= t.median_s
        assert t.calls >= 3
        assert t.error <= 1e-5


def test_record_is_json_and_the_plot_a_png(result):
    record = json.loads(json.dumps(result.record()))
    assert record["timings"][0]["workload"] == {"model": "lenet_like", "batch": 1, "size": None}
    assert record["plot"] == str(result.plot)
    assert result.plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [p.name for p in result.plot.parent.iterdir()] == ["demo.png"]


def test_an_interrupted_plot_leaves_the_old_file(result, monkeypatch, tmp_path):
    path = tmp_path / "demo.png"
    path.write_bytes(b"old")

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plot.write_plot(path, load_digits(), result.comparison, result.timings)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_demo_leaves_the_callers_threads_and_random_state(result):
    before = torch.get_num_threads(), torch.get_rng_state()
    comparison, _ = train_and_compare(epochs=1)
    assert comparison.accuracy_torch < result.comparison.accuracy_torch  # one epoch is not twenty
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.fixture
def ctrl_c_heard():
    """Python's own handler, which a shell's background job is started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_end_of_an_import(ctrl_c_heard):
    reached = []
    with pytest.raises(KeyboardInterrupt), ctrl_c_waits():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        reached.append(1)
    assert reached == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with ctrl_c_waits():
        pass
