"""The `pycnn` command: results, JSON, one-sentence errors, exit status."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import pycnn
from pycnn import cli, registry
from pycnn.demo import DemoResult
from pycnn.demo.compare import WORKLOADS, Comparison
from pycnn.planning.cpu import runs_bf16
from pycnn.timing import TORCH_ENGINES, Timing


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def demo_result(different=0):
    comparison = Comparison(360, 0.98, 0.98, different, 1e-7, 2e-7, 3.0, 0.01, (1,) * 360)
    timings = [
        Timing(w, name, 1e-5 * i, 2e-5 * i, 3e-5 * i, 9, 1e-7)
        for w in WORKLOADS
        for i, name in enumerate(TORCH_ENGINES, start=1)
    ]
    return DemoResult(comparison, timings, None)


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"pycnn {pycnn.__version__}\n"


def test_help_has_every_command_with_an_example():
    shown = run("--help").stdout
    for name in (command.name for command in cli.app.registered_commands):
        assert f" {name} " in shown
        assert f"pycnn {name}" in run(name, "--help").stdout


def test_list_json_has_the_models_and_their_figures():
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert list(rows) == pycnn.list_models()
    assert rows["resnet18"]["parameters"] == 11_689_512
    assert rows["lenet_like"] == {
        "name": "lenet_like",
        "family": "textbook",
        "task": "classification",
        "input_size": [1, 28, 28],
        "num_classes": 10,
        "parameters": 44_426,
        "macs": 6 * 25 * 24**2 + 16 * 150 * 8**2 + 256 * 120 + 120 * 84 + 84 * 10,
        "backbone_reductions": [1, 2, 4],
        "paper": {
            "title": "Gradient-Based Learning Applied to Document Recognition",
            "authors": "LeCun, Bottou, Bengio, Haffner",
            "year": 1998,
            "arxiv": None,
        },
    }


def test_list_table_is_filtered():
    result = run("list", "resnet?0")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if "resnet50" in line]
    for cell in (
        "classification",
        "3×224×224",
        "25,557,032",
        "4.089",
        "He et al. 2015, arXiv:1512.03385",
    ):
        assert cell in line
    assert "small_cnn" not in result.stdout


def test_list_of_one_task():
    result = run("list", "--task", "segmentation", "--json")
    rows = json.loads(result.stdout)
    assert {row["task"] for row in rows} == {"segmentation"}
    assert [row["name"] for row in rows] == pycnn.list_models(task="segmentation")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "zzz*"], "pycnn: no model matches 'zzz*'; `pycnn list` shows all\n"),
        (
            ["list", "--task", "poetry"],
            "pycnn: unknown task 'poetry': it is one of classification, ",
        ),
        (
            ["list", "res*", "--task", "segmentation"],
            "pycnn: no model matches 'res*' with task 'segmentation';",
        ),
        (["explain", "resnet81"], "pycnn: unknown model 'resnet81': did you mean 'resnet18'"),
        (["explain", "lenet5", "--dtype", "half5"], "pycnn: --dtype 'half5' is no dtype of torch"),
        (["explain", "resnet18", "--batch", "0"], "Invalid value for '--batch'"),
        (["demo", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_errors_are_said_on_stderr(arguments, message):
    result = run(*arguments)
    assert result.exit_code == (1 if message.startswith("pycnn:") else 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


class Scaled(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_classes, 3)

    def forward(self, x, scale):
        return self.conv(x) * scale


def test_explain_hands_on_what_a_forward_needs_behind_the_image(monkeypatch):
    family = replace(registry.find_model("small_cnn").family, extra_inputs=(0.5,))
    monkeypatch.setitem(registry._VARIANTS, "scaled", registry.Variant("scaled", Scaled, family))
    result = run("explain", "scaled", "--json")
    assert result.exit_code == 0, result.stderr
    (step,) = [s for s in json.loads(result.stdout)["steps"] if s["op"] == "conv2d"]
    assert step["output"] == [1, 10, 30, 30]


def test_explain_shows_every_convolution():
    report = json.loads(
        run("explain", "small_cnn", "--batch", "2", "--size", "16", "--json").stdout
    )
    convs = [
        step
        for step in report["steps"]
        if "features" in step["path"] and step["op"] in ("conv2d", "conv2d_pool")
    ]
    assert [step["input"] for step in convs] == [
        [2, 3, 16, 16], [2, 32, 16, 16], [2, 32, 8, 8], [2, 64, 8, 8], [2, 64, 4, 4],
    ]  # fmt: skip
    assert report["fallbacks"] == []
    assert "features.14" in run("explain", "small_cnn").stdout


def test_explain_in_another_dtype():
    report = json.loads(run("explain", "lenet5", "--dtype", "bfloat16", "--json").stdout)
    assert (report["fallbacks"] == []) == ("bfloat16" in report["isa"]) == runs_bf16()


def test_explain_writes_a_page(tmp_path):
    page = tmp_path / "x.html"
    result = run("explain", "small_cnn", "--size", "8", "--html", str(page), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == "small_cnn"
    assert "What runs: small_cnn, 1×3×8×8" in page.read_text()
    result = run("explain", "small_cnn", "--html", str(tmp_path / "none" / "x.html"))
    assert result.exit_code == 1 and "No such file or directory" in result.stderr


def test_env_says_what_a_bug_report_needs(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = json.loads(run("env", "--json").stdout)
    assert facts["pycnn"] == pycnn.__version__
    assert facts["torch"] == torch.__version__
    assert facts["isa"] in facts["isas"]
    assert facts["threads"] == torch.get_num_threads()
    assert facts["affinity"] == sorted(os.sched_getaffinity(0))
    assert facts["variables"]["OMP_NUM_THREADS"] == "3"
    assert facts["cuda"]["built_with"] == torch.version.cuda
    assert facts["memory_bytes"] > 1 << 28 and facts["l2_bytes"] > 0
    assert any("PyTorch" in line for line in facts["torch_build"]["settings"])
    shown = run("env").stdout
    for text in (facts["isa"], "OMP_NUM_THREADS", "KiB", facts["python"]):
        assert text in shown


def test_demo_prints_figures_and_its_status_says_if_predictions_are_equal(monkeypatch):
    monkeypatch.setattr("pycnn.cli.demo.run_demo", lambda console, **options: demo_result())
    result = run("demo")
    assert result.exit_code == 0
    assert "360 of 360 predictions equal" in result.stdout
    assert "0.33×" in result.stdout  # the third engine takes thrice the first's 20 µs

    monkeypatch.setattr(
        "pycnn.cli.demo.run_demo", lambda console, **options: demo_result(different=2)
    )
    result = run("demo", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["digits"]["different"] == 2
    assert result.stderr == "pycnn: 2 of 360 predictions differ from torch's\n"


def test_demo_options_reach_the_demo(monkeypatch, tmp_path):
    given = []

    def record(console, **options):
        given.append(options)
        return demo_result()

    monkeypatch.setattr("pycnn.cli.demo.run_demo", record)
    run("demo", "--epochs", "3", "--out", str(tmp_path), "--seconds", "0.25")
    run("demo", "--no-plot")
    assert given[0] == {"epochs": 3, "out": tmp_path, "seconds": 0.25}
    assert given[1]["out"] is None


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("sklearn.datasets", "pycnn: the demo needs scikit-learn, which cannot be imported"),
        ("matplotlib.figure", "pycnn: the demo needs matplotlib, which cannot be imported"),
    ],
)
def test_a_missing_extra_is_one_sentence(monkeypatch, tmp_path, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    result = run("demo", "--epochs", "1", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "pip install 'pycnn[demo]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    result = run("demo", "--out", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert result.stderr.startswith("pycnn: ")
    assert str(tmp_path / "file") in result.stderr


def test_python_m_pycnn_and_a_reader_that_leaves():
    listing = subprocess.Popen(
        [sys.executable, "-m", "pycnn", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    listing.stdout.close()
    assert b"Traceback" not in listing.stderr.read()
    listing.stderr.close()
    listing.wait()
    found = subprocess.run(
        [sys.executable, "-m", "pycnn", "list", "lenet*"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "44,426" in found.stdout


def test_ctrl_c_is_status_130_and_leaves_no_file(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pycnn", "demo", "--epochs", "100000", "--out", str(out)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not out.exists():  # made just before training starts
            assert demo.poll() is None, demo.communicate()
            time.sleep(0.05)
        demo.send_signal(signal.SIGINT)
        stdout, stderr = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 130
    assert "pycnn: interrupted" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert list(out.iterdir()) == []
