"""Tables of measured kernels that come with the package, beneath the user's own."""

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import pycnn
from pycnn import _C
from pycnn.planning import tune, tuned
from pycnn.planning.cpu import CpuTarget
from pycnn.planning.tuned import Table, file_name, problem
from pycnn.processor import cpu_name

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import ship_tuned

ISA = _C.machine()["isa"]
HERE = f"{cpu_name()}, {ISA}"
CONV = {"n": 1, "h": 8, "w": 8, "c": 16, "k": 16, "oh": 8, "ow": 8, "ldx": 16, "ldy": 16}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of shipped tables; the user's own is tuned.json beside it."""
    monkeypatch.setenv("PYCNN_TUNED", str(tmp_path / "tuned.json"))
    monkeypatch.setattr(tuned, "SHIPPED", tmp_path / "tables")
    monkeypatch.setattr(tune, "_SECONDS", 0.0)
    return tmp_path / "tables"


def measured(processor: str, key: str, kernel: str, path: Path | None = None) -> Table:
    table = Table(path)
    table.add(processor, key, {kernel: 1.0}, "another")
    return table


def test_a_file_is_of_one_machine():
    names = (
        "NVIDIA H200, sm_90, bfloat16",
        "NVIDIA H200, sm_90, float32 tf32",
        "AMD EPYC 9R45, avx512",
    )
    assert [file_name(name) for name in names] == [
        "nvidia-h200.json",
        "nvidia-h200.json",
        "amd-epyc-9r45.json",
    ]


def test_what_was_measured_here_comes_first(folder: Path):
    measured(HERE, "a", "theirs", folder / file_name(HERE)).save()
    measured(HERE, "b", "theirs", folder / file_name(HERE)).save()
    table = tuned.shared_table()
    assert table.find(HERE, "c") is None and table.find("NVIDIA H200, sm_90, bfloat16", "a") is None
    table.add(HERE, "a", {"mine": 1.0}, "another")
    mine, theirs = table.find(HERE, "a"), table.find(HERE, "b")
    assert mine is not None and theirs is not None
    assert (mine.kernel, theirs.kernel) == ("mine", "theirs")
    assert table.has(HERE, "a") and not table.has(HERE, "b")
    table.save()  # what was shipped does not become the user's
    assert list(json.loads(Path(table.path or "").read_text())["processors"][HERE]) == ["a"]


def test_a_table_knows_the_processors_of_both(folder: Path):
    """Where nothing was measured no plan makes keys of its problems."""
    measured(HERE, "a", "theirs", folder / file_name(HERE)).save()
    table = tuned.shared_table()
    assert table.knows(HERE) and not table.knows("another, avx2")
    table.add("another, avx2", "a", {"mine": 1.0}, "another")
    assert table.knows("another, avx2") and not Table().knows(HERE)


def test_shipped_choices_are_taken_where_the_kernel_is_there(folder: Path):
    """Names of kernels that went, or do not take the problem, are left to the rule."""
    target = CpuTarget(table=tuned.shared_table())
    first, second, *_ = target.candidates("conv2d", CONV)
    for kernel, expected in ((second, second), ("conv2d_of_old", first)):
        measured(HERE, problem("conv2d", CONV, 1), kernel, folder / file_name(HERE)).save()
        tuned._tables.clear()
        assert CpuTarget(table=tuned.shared_table()).choose("conv2d", CONV, 0) == expected


def test_a_damaged_table_is_said_and_not_used(folder: Path, caplog: pytest.LogCaptureFixture):
    folder.mkdir()
    (folder / file_name(HERE)).write_text("[]")
    with caplog.at_level(logging.WARNING, logger="pycnn.tuned"):
        assert [tuned.shared_table().find(HERE, "a") for _ in range(2)] == [None, None]
    (record,) = caplog.records
    assert "is no table of measured kernels" in record.getMessage()


def test_tuning_measures_what_is_only_shipped(folder: Path):
    net, x = nn.Sequential(nn.Conv2d(16, 16, 1)).eval(), torch.randn(1, 16, 8, 8)
    with torch.inference_mode():
        pycnn.optimize(net, tune=True, threads=1)(x)
        path = Path(tuned.shared_table().path or "")
        table = Table.read(path)
        ship_tuned.ship(table, [])
        path.unlink()
        tuned._tables.clear()
        pycnn.optimize(net, tune=True, threads=1)(x)
    assert Table.read(path).processors() == table.processors()


def test_tables_are_shipped_by_processor(folder: Path, capsys: pytest.CaptureFixture[str]):
    path = folder.parent / "measured.json"
    for name in ("NVIDIA H200, sm_90, bfloat16", "NVIDIA H200, sm_90, float16", "AMD EPYC, avx2"):
        measured(name, "a", "k", path).save()
    assert ship_tuned.main([str(path), "NVIDIA"]) == 0
    (written,) = folder.iterdir()
    assert written.name == "nvidia-h200.json" and str(written) in capsys.readouterr().out
    assert len(Table.read(written).processors()) == 2
    measured("NVIDIA H200, sm_90, bfloat16", "b", "k", folder.parent / "later.json").save()
    assert ship_tuned.main([str(folder.parent / "later.json")]) == 0  # joined
    choices = Table.read(written).find("NVIDIA H200, sm_90, bfloat16", "a")
    assert choices is not None and choices.kernel == "k"
    assert ship_tuned.main([str(path), "Intel"]) == 1
    assert "no processor 'Intel' in the table: it has AMD EPYC, avx2" in capsys.readouterr().err
    assert ship_tuned.main([str(folder / "none.json")]) == 1 and ship_tuned.main([]) == 2


def test_those_of_the_package_are_tables():
    """There may be none; a damaged one would only be a line of the log to its user."""
    for file in (Path(tuned.__file__).parent / "tables").glob("*.json"):
        assert all(file_name(name) == file.name for name in Table.read(file).processors())
