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
    monkeypatch.delenv("CUDACXX", raising=False)
    assert check_cuda.main() == 0
    assert "there is no nvcc of release 12.4 or later" in capsys.readouterr().out


LISTING = """
arch = sm_80
code version = [1,8]
		Function : _ZN5pycnn4cuda10each_pieceINS0_6AddActIfEEEEvNT_4ArgsE
        /*0000*/                   LDC R1, c[0x0][0x28] ;               /* 0x00000a0000017b82 */
        /*00a0*/              @!P0 LDG.E.128.CONSTANT R4, [R2.64] ;     /* 0x0000000402048981 */
        /*00b0*/                   STG.E.128 [R6.64], R8 ;              /* 0x0000000806007986 */
		Function : other
        /*0010*/              @P1  STL [R1], R3 ;                       /* 0x0000000301007387 */
        /*0020*/                   HMMA.16816.F32.BF16 R4, R8, R2, R4 ; /* 0x000000020804723c */
"""


def test_instructions_are_told_by_kernel() -> None:
    found = check_cuda.uses(iter(LISTING.splitlines()))
    name = "each_pieceINS0_6AddActIfEEEEvNT_4ArgsE"
    assert found == {f"sm_80 {name}": {"load16", "store16"}, "sm_80 other": {"matrix", "local"}}


def test_instructions_that_vanish_and_local_memory_are_named() -> None:
    known = {"sm_80 a": {**NEEDS, "uses": ["matrix", "store16"]}}
    assert check_cuda.problems(known, {"sm_80 a": NEEDS}) == []  # without cuobjdump
    said = check_cuda.problems(known, {"sm_80 a": {**NEEDS, "uses": ["local", "matrix"]}})
    assert said == ["sm_80 a has no store16 instruction any more", "sm_80 a touches local memory"]


def test_kernels_that_may_start_early_wait_before_they_touch_memory() -> None:
    """A load moved above the wait is named; asynchronous copies, of weights, may be there; sm_80 has no such words."""
    waits = "        /*0000*/                   ACQBULK ;                        /* 0x000000000000782e */"
    starts = waits.replace("ACQBULK", "PREEXIT")
    loads = waits.replace("ACQBULK", "LDG.E.128.CONSTANT R4, [R2.64]")
    copies = waits.replace("ACQBULK", "LDGSTS.E.BYPASS.128 [R4], [R2.64]")

    def said(architecture: str, *lines: str) -> list[str]:
        listing = [f"arch = {architecture}", "\t\tFunction : a", *lines]
        mine = check_cuda.uses(iter(listing)).get(f"{architecture} a", set())
        return check_cuda.out_of_order(f"{architecture} a", mine)

    assert said("sm_90a", copies, waits, starts, loads) == []
    assert said("sm_90a", loads, waits, starts) == ["sm_90a a loads or stores before it has waited"]
    assert said("sm_90a", copies) == [
        "sm_90a a does not wait for the kernels before it",
        "sm_90a a does not let the next kernel start",
    ]
    assert said("sm_80", loads) == []
    assert said("sm_80", waits, loads) == ["sm_80 a: waits is for kernels of sm_90"]


def test_what_ptxas_says_is_read() -> None:
    said = (
        "ptxas info    : Compiling entry function '_ZN5pycnn4cuda3addEv' for 'sm_80'\n"
        "ptxas info    : Function properties for _ZN5pycnn4cuda3addEv\n"
        "    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 32 bytes smem, 488 bytes cmem[0]\n"
    )
    assert check_cuda.resources(said) == {
        "sm_80 addEv": {"registers": 40, "shared_bytes": 32, "spill_bytes": 8}
    }


def test_serialised_products_are_named() -> None:
    said = (
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to "
        "the presence of Extern calls in the function '_ZN5pycnn4cuda10conv_wgmmaEv'\n"
        "ptxas info    : Used 168 registers, used 2 barriers\n"
    )
    assert check_cuda.serialised(said * 2) == [
        "conv_wgmmaEv: ptxas serialises its wgmma instructions (C7510)"
    ]
    assert check_cuda.serialised(said.partition("\n")[2]) == []


def test_the_table_has_no_spills_and_what_kernels_are_written_for() -> None:
    table = json.loads(check_cuda.TABLE.read_text())
    assert {name.split()[0] for name in table} == set(check_cuda.ARCHITECTURES)
    assert all(
        needs["spill_bytes"] == 0 and "local" not in needs["uses"] for needs in table.values()
    )
    assert not [
        said for name, n in table.items() for said in check_cuda.out_of_order(name, {*n["uses"]})
    ]
    products = {name: needs for name, needs in table.items() if "conv_tile" in name}
    assert {name.partition("MathE")[2][0] for name in products} == {"0", "1", "2", "3"}
    assert all({"matrix", "ldmatrix", "store16"} <= set(n["uses"]) for n in products.values())
    prologues = [set(n["uses"]) for name, n in table.items() if "conv_prologue" in name]
    asked = {"matrix", "ldmatrix", "cp_async16", "load16", "store16"}
    assert len(prologues) == 32 and all(asked <= uses for uses in prologues)
    ends = [n["uses"] for name, n in table.items() if " depthwise_" in name]  # sums, layer norms
    assert len(ends) == 42 and all({"load16", "store16"} <= set(uses) for uses in ends)
    gates = [needs["uses"] for name, needs in table.items() if " excitation" in name]
    assert len(gates) == 6 and all("load16" in uses for uses in gates)
    pieces = [needs["uses"] for name, needs in table.items() if "each_piece" in name]
    assert len(pieces) > 60 and all({"load16", "store16"} <= set(uses) for uses in pieces)


def test_wgmma_and_tma_are_in_kernels_of_sm_90a_alone() -> None:
    table = json.loads(check_cuda.TABLE.read_text())
    hopper = {"wgmma", "tma_load", "tma_im2col", "tma_store", "mbarrier", "cluster"}
    seen = {name for name, needs in table.items() if hopper & set(needs["uses"])}
    assert seen and all(name.startswith("sm_90a conv_wgmma") for name in seen)
    kernels = {name: set(needs["uses"]) for name, needs in table.items() if "conv_wgmma" in name}
    assert len(kernels) == 56
    for name, uses in kernels.items():
        if name.startswith("sm_80"):
            assert uses == set(), name
            continue
        alone = "ELi1ELNS_8PrologueE" in name
        assert {"wgmma", "tma_load", "tma_im2col", "mbarrier"} <= uses, name
        assert ("tma_store" in uses) == alone and ("cluster" in uses) != alone, name
