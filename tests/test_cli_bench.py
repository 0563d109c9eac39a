"""`pycnn bench`: real processes and few turns; sentences and status where the measurement is replaced."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from pycnn import cli
from pycnn.cli.bench import spread
from pycnn.models import plain_torch
from pycnn.timing import TORCH_ENGINES, Failure, Record, Workload
from pycnn.timing.networks import flops_per_image, network_and_input


def run(*arguments):
    return CliRunner().invoke(cli.app, ["bench", *arguments])


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "record.json"
    result = run(
        "lenet_like", "--batch", "1", "2", "--rounds", "1", "--seconds", "0", "--threads", "1", "--json",
        "--save", str(path),
    )  # fmt: skip
    return result, path


def test_json_and_the_saved_file_are_the_record(lenet):
    result, path = lenet
    assert result.exit_code == 0
    record = Record.from_dict(json.loads(result.stdout))
    assert record == Record.load(path)
    rows = [(t.workload, t.engine) for t in record.timings]
    assert rows == [(Workload("lenet_like", n), e) for n in (1, 2) for e in TORCH_ENGINES]
    assert all(0 < t.error <= 1e-5 for t in record.timings) and record.threads == 1


def test_the_table_has_each_engine_and_others_work_and_failures_are_said(lenet, monkeypatch):
    record = Record.load(lenet[1])
    asked = []

    def measured(workloads, settings, path):
        asked.append((workloads, list(settings.engines), path))
        failure = Failure(workloads[0], "OpenVINO", "resnet18, batch 4: OpenVINO: no")
        busy = replace(record.timings[0], foreign_cpus=1.0)
        return replace(record, timings=(busy, *record.timings[1:]), failures=(failure,))

    monkeypatch.setattr(cli.bench, "measure_shown", measured)
    result = run("resnet18", "--batch", "4", "--engines", "pycnn", "torch-nchw")
    assert asked == [([Workload("resnet18", 4)], ["torch NCHW", "pycnn"], None)]
    assert result.exit_code == 1
    assert "lenet_like" in result.stdout and "torch NHWC" in result.stdout
    said = result.stderr.splitlines()
    assert said[0].startswith("disturbed: lenet_like, batch 1, torch NCHW: others used 1.00")
    assert said[-1] == "pycnn: resnet18, batch 4: OpenVINO: no"


def test_an_interrupt_is_status_130_and_leaves_a_whole_file(lenet, monkeypatch, tmp_path):
    record, path = Record.load(lenet[1]), tmp_path / "record.json"

    def compare(workloads, *, listener, **settings):
        listener.on_timing(record.timings[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("pycnn.timing.record.compare", compare)
    result = run("lenet_like", "--threads", "1", "--save", str(path))
    assert result.exit_code == 130 and result.stderr.splitlines()[-1] == "pycnn: interrupted"
    assert Record.load(path).timings == record.timings[:1]
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["resnet19"], "unknown model 'resnet19'"),
        (["timm/resnet19"], "unknown network 'resnet19' of timm: did you mean 'resnet18'"),
        (["keras/resnet50"], "unknown library 'keras': one of torchvision, timm"),
        (
            ["resnet18", "--size", "0x32"],
            "--size '0x32': the size must be a positive integer or HEIGHTxWIDTH",
        ),
        (
            ["lenet_like", "--size", "40"],
            "lenet_like does not run on images of 1×40×40",
        ),
        (["resnet18", "--engines", "tvm"], "unknown engine 'tvm': one of all, torch-nchw"),
        (["resnet18", "--save", "/nowhere/x.json"], "/nowhere"),
    ],
)
def test_wrong_values_are_one_sentence(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 1
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("pycnn: ")]
    assert sentence in said
    assert result.stdout == ""


def test_a_wrong_batch_is_wrong_usage():
    assert run("resnet18", "--batch", "1", "0").exit_code == 2
    assert run("--batch", "1").exit_code == 2


def test_an_option_is_repeated_before_each_of_its_values():
    given = ["a", "--batch", "1", "8", "--json", "--engines", "all", "x", "--save", "f"]
    assert spread(given) == [
        "a", "--batch", "1", "--batch", "8", "--json", "--engines", "all", "--engines", "x", "--save", "f",
    ]  # fmt: skip
    assert spread(["--batch=2", "a"]) == ["--batch=2", "a"]


def test_a_network_that_takes_more_than_an_image_is_timed_and_counted():
    net, x = network_and_input(Workload("diffusion_unet", 1))
    assert x.shape == (1, 3, 32, 32)
    with torch.no_grad(), plain_torch():
        assert net(x).shape == x.shape
    assert flops_per_image(Workload("diffusion_unet", 1)) > 1e9


def test_the_size_is_for_every_model(lenet, monkeypatch):
    asked = []
    record = Record.load(lenet[1])
    monkeypatch.setattr(cli.bench, "measure_shown", lambda w, *_: asked.extend(w) or record)
    assert run("unet", "resnet18", "--batch", "1", "2", "--size", "64x96").exit_code == 0
    assert asked == [Workload(name, n, (64, 96)) for name in ("unet", "resnet18") for n in (1, 2)]
