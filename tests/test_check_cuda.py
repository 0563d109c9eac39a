"""The check of what CUDA kernels need: growth, new and vanished kernels are named."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_cuda  # noqa: E402

NEEDS = {"registers": 96, "shared_bytes": 0, "spill_bytes": 0}


def test_less_is_fine_and_more_is_named() -> None:
    known = {"sm_80 a": NEEDS}
    assert check_cuda.problems(known, {"sm_80 a": {**NEEDS, "registers": 90}}) == []
    (said,) = check_cuda.problems(known, {"sm_80 a": {**NEEDS, "registers": 97}})
    assert said == "sm_80 a needs 97 registers, the table has 96"


def test_new_and_vanished_kernels_are_named() -> None:
    new, gone = check_cuda.problems({"sm_80 old": NEEDS}, {"sm_80 new": NEEDS})
    assert "sm_80 new is not in cuda_resources.json" in new
    assert "sm_80 old is in cuda_resources.json and in no source" in gone


def test_without_nvcc_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_cuda.shutil, "which", lambda name: None)
    assert check_cuda.main() == 0
    assert "there is no nvcc of release 12.4 or later" in capsys.readouterr().out


def test_the_table_has_no_spills_and_every_kind_of_arithmetic() -> None:
    table = json.loads(check_cuda.TABLE.read_text())
    assert {name.split()[0] for name in table} == set(check_cuda.ARCHITECTURES)
    assert all(needs["spill_bytes"] == 0 for needs in table.values())
    products = [name for name in table if "MathE" in name]
    assert {name.partition("MathE")[2][0] for name in products} == {"0", "1", "2", "3"}
