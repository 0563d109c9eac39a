"""`pycnn summary`, `pycnn verify` and `pycnn profile`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pycnn import cli


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def test_summary_shows_layers_and_draws_them(tmp_path: Path) -> None:
    svg = tmp_path / "net.svg"
    result = run(
        "summary", "small_cnn", "--batch", "2", "--size", "16", "--svg", str(svg), "--json"
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["model"], found["inputs"]) == ("small_cnn", [[2, 3, 16, 16]])
    assert [row["output"] for row in found["rows"] if row["kind"] == "MaxPool2d"] == [
        [2, 32, 8, 8], [2, 64, 4, 4],
    ]  # fmt: skip
    assert svg.read_text().startswith("<svg ") and list(tmp_path.iterdir()) == [svg]
    shown = run("summary", "resnet50").stdout
    for text in ("layer3.5.conv2", "4,089,184,256 MACs", "25,557,032 parameters", "Object parts"):
        assert text in shown


def test_verify_prints_a_verdict_and_its_status_is_that() -> None:
    result = run("verify", "lenet_like")
    assert result.exit_code == 0
    assert "features.0 + tanh" in result.stdout
    assert "within their tolerance" in result.stdout
    result = run(
        "verify", "small_cnn", "--size", "16", "--batch", "2", "--exact", "--tol", "1e-12", "--json"
    )
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["ok"] is False and found["layers"][0]["tol"] == 1e-12
    assert found["layers"][0]["shape"] == [2, 32, 16, 16]
    assert not any("winograd" in layer["kernel"] for layer in found["layers"])
    assert result.stderr.startswith("pycnn: ") and found["first_bad"] in result.stderr


def test_profile_writes_what_is_asked_for(tmp_path: Path) -> None:
    html, plot, trace = (tmp_path / name for name in ("p.html", "p.png", "p.json"))
    result = run(
        "profile", "small_cnn", "--size", "16", "--batch", "2", "--seconds", "0", "--threads", "1", "--json",
        "--html", str(html), "--plot", str(plot), "--trace", str(trace),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["model"] == "small_cnn" and found["inputs"] == [[2, 3, 16, 16]]
    assert [limits["threads"] for limits in found["limits"]] == [1]
    assert "Profile of small_cnn, 2×3×16×16" in html.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert json.loads(trace.read_text())["traceEvents"]
    assert (
        "features.0 + batch_norm"
        in run("profile", "small_cnn", "--size", "8", "--seconds", "0").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "resnet81"], "pycnn: unknown model 'resnet81': did you mean 'resnet18'"),
        (["summary", "resnet18", "--size", "0"], "Invalid value for '--size'"),
        (
            ["summary", "inception_v3", "--size", "20"],
            "pycnn: summary: InceptionV3 does not run on [1, 3, 20, 20]",
        ),
        (["summary", "lenet_like", "--svg", "/none/x.svg"], "No such file or directory"),
        (["verify", "resnet81"], "pycnn: unknown model 'resnet81'"),
        (["verify", "resnet18", "--tol", "-1"], "Invalid value for '--tol'"),
        (["profile", "resnet81"], "pycnn: unknown model 'resnet81'"),
        (
            ["profile", "lenet_like", "--seconds", "0", "--html", "/none/p.html"],
            "No such file or directory",
        ),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_missing_package_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("profile", "resnet152", "--seconds", "1000", "--plot", "p.png")
    assert result.exit_code == 1
    assert "pip install 'pycnn[plot]'" in result.stderr
