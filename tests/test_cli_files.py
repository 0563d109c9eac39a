"""explain, verify and profile on files that are whole programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nets import settle
from torch import Tensor, nn
from typer.testing import CliRunner

import pycnn
from pycnn import cli


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    net = settle(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
        )
    )
    fast = pycnn.optimize(net)
    fast.warmup((1, 3, 16, 12))
    pycnn.save(fast, tmp_path / "net.pycnn")
    torch.export.save(torch.export.export(net, (torch.randn(1, 3, 16, 12),)), tmp_path / "net.pt2")
    return {kind: tmp_path / f"net.{kind}" for kind in ("pycnn", "pt2")}


@pytest.mark.parametrize("kind", ["pycnn", "pt2"])
def test_explain_verify_and_profile(files: dict[str, Path], kind: str) -> None:
    result = run("explain", files[kind], "--json")
    assert result.exit_code == 0, result.stderr
    steps = json.loads(result.stdout)["steps"]
    assert [s["op"] for s in steps][:2] == ["conv2d", "conv2d"] and all(s["kernel"] for s in steps)
    result = run("verify", files[kind])
    assert result.exit_code == 0, (result.stdout, result.stderr)
    result = run("profile", files[kind], "--seconds", 0.05, "--json")
    assert result.exit_code == 0, result.stderr
    assert [r["op"] for r in json.loads(result.stdout)["layers"]][0] == "conv2d"


def test_other_sizes_where_the_graph_takes_them(files: dict[str, Path]) -> None:
    result = run("explain", files["pycnn"], "--batch", 3, "--size", 20, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["inputs"] == [[3, 3, 20, 20]]


def test_what_is_no_such_file_is_one_sentence(tmp_path: Path) -> None:
    for name in ("bad.pt2", "bad.pycnn"):
        (tmp_path / name).write_bytes(b"nothing")

    class Keyword(nn.Module):
        def forward(self, *, x: Tensor) -> Tensor:
            return x.relu()

    fast = pycnn.optimize(Keyword().eval())
    fast(x=torch.randn(1, 3, 4, 4))
    pycnn.save(fast, tmp_path / "keyword.pycnn")
    for name, sentence in (
        ("bad.pt2", "bad.pt2 is no program of torch.export"),
        ("bad.pycnn", "bad.pycnn is no network that pycnn.save wrote"),
        ("none.pycnn", "no such file"),
        ("keyword.pycnn", "keyword.pycnn is called with keywords"),
    ):
        result = run("explain", tmp_path / name)
        assert result.exit_code != 0
        assert sentence in result.stderr.replace("\n", " "), result.stderr
