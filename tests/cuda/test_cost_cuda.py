"""The model of costs: what it predicts of launches, what it chooses, and what bench.gpu_floor writes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from launch import allow_everything, on_host

from bench import gpu_floor
from bench.gpu_convs import wgmma_on

pytestmark = on_host
SMS = 132
TILE = "conv2d_igemm128x128_bf16_sm80"


def conv(
    pixels: int, c: int = 256, k: int = 128, taps: int = 1, residual: bool = False
) -> dict[str, float]:
    """So many pixels in a row, windows of `taps` pixels."""
    sizes = {
        "n": 1,
        "h": 1,
        "w": pixels,
        "c": c,
        "k": k,
        "oh": 1,
        "ow": pixels,
        "kw": taps,
        "pw": taps // 2,
    }
    return {**sizes, "ldx": c, "ldy": k, **({"ldr": k} if residual else {})}


def predicted(params: dict[str, float], kernel: str = TILE, **given: float) -> dict[str, float]:
    asked = {"bytes": 0.0, "operations": 0.0, **given}
    return dict(allow_everything().predict("conv2d", kernel, params, **asked))


def on_chip(params: dict[str, float], kernel: str = TILE) -> float:
    told = predicted(params, kernel)
    return told["seconds"] - told["launch"]


def test_a_wave_of_tiles_takes_as_long_as_its_last() -> None:
    """132 tiles of 128 pixels are as fast as one; the 133rd makes a wave of its own, for products and for moves."""
    one, full, more = (predicted(conv(128 * tiles)) for tiles in (1, SMS, SMS + 1))
    assert one["products"] == full["products"] and one["waits"] == full["waits"]
    assert more["products"] == pytest.approx(2 * full["products"])
    assert more["l2"] > full["l2"] > one["l2"]  # all SMs together ask more of the L2 than it has
    assert (
        predicted(conv(128 * SMS - 127)) == full
    )  # a tile's pixels that are not there cost as much


@pytest.mark.parametrize(
    "grown", [{"pixels": 40_000}, {"c": 512}, {"k": 512}, {"taps": 3}, {"residual": True}]
)
def test_more_work_never_takes_less(grown: dict[str, Any]) -> None:
    module = allow_everything()
    small, large = conv(20_000), conv(**{"pixels": 20_000, **grown})
    with wgmma_on():
        names = module.candidates("conv2d", "bfloat16", False, True, small)
    assert len(names) == 12
    for name in names:
        less, more = predicted(small, name), predicted(large, name)
        assert all(more[what] >= less[what] > 0 for what in ("products", "l2", "waits")), name
        assert grown != {"c": 512} or more["products"] == pytest.approx(2 * less["products"])


def test_products_keep_below_the_tensor_cores_rate() -> None:
    module, params = allow_everything(), conv(128 * SMS * 3, c=1024, k=256)
    operations, rate = 2 * params["ow"] * params["c"] * params["k"], module.gpu()["products"]
    shares = {
        n: operations / rate / predicted(params, n)["products"]
        for n in ("conv2d_wgmma128x256_bf16_sm90", TILE)
    }
    assert shares["conv2d_wgmma128x256_bf16_sm90"] == pytest.approx(1)
    assert shares[TILE] == pytest.approx(0.63)  # of mma.sync


def test_bytes_are_of_the_memory_unless_the_l2_has_them() -> None:
    gpu, far = allow_everything().gpu(), predicted(conv(1), bytes=48e6)
    near = predicted(conv(1), bytes=48e6, cached=48e6)
    assert far["memory"] == pytest.approx(48e6 / gpu["memory"])
    assert far["seconds"] == pytest.approx(48e6 / gpu["memory"] + gpu["launch"])
    assert near["memory"] == pytest.approx(48e6 / gpu["l2"]) and near["memory"] < far["memory"]


def test_kernels_without_a_cost_are_those_of_pieces() -> None:
    module = allow_everything()
    params = {"pixels": 1000, "c": 64, "ldx": 64, "ldr": 64, "ldy": 64}
    told = [
        dict(module.predict("add_act", "add_act_pieces_bf16_sm80", params, bytes=b, operations=1.0))
        for b in (8192.0, SMS * 8192.0, SMS * 8192.0 + 1, 1e9)
    ]
    assert told[0]["waits"] == told[1]["waits"] == told[2]["waits"] < told[3]["waits"]
    assert told[0]["l2"] == pytest.approx(8192 / 112e9) and told[3]["seconds"] >= 1e9 / 4.8e12
    none = module.predict("add_act", "add_act_pieces_bf16_sm80", params, bytes=0.0, operations=0.0)
    assert none["seconds"] == 0  # it launches nothing


def test_the_choice_is_the_least_of_the_predictions() -> None:
    module = allow_everything()
    chosen = set()
    with wgmma_on():
        for params in (
            conv(49, 2048, 512),
            conv(49, 512, 512, 3),
            conv(200_000, 64, 64),
            conv(50_000, 512, 512, 3),
        ):
            of = "conv2d", "bfloat16", False, True, params
            times = {name: on_chip(params, name) for name in module.candidates(*of)}
            name = module.choose(*of)
            assert times[name] == min(times.values())
            chosen.add(name)
    assert len(chosen) > 2 and any("split" in name for name in chosen)


def test_transposed_convolutions_pay_a_launch_for_each_phase() -> None:
    module = allow_everything()
    sizes = {
        "n": 1,
        "h": 4,
        "w": 4,
        "c": 8,
        "k": 8,
        "kh": 2,
        "kw": 2,
        "oh": 8,
        "ow": 8,
        "sh": 2,
        "sw": 2,
    }
    params = {**sizes, "ldx": 8, "ldy": 8}
    name = "conv_transpose2d_igemm64x64_bf16_sm80"
    told = module.predict("conv_transpose2d", name, params, bytes=0.0, operations=0.0)
    assert told["launch"] == pytest.approx(4 * module.gpu()["launch"])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("batch", [1, 8])
def test_no_step_is_predicted_below_its_floor(name: str, batch: int) -> None:
    planned = gpu_floor.program(name, gpu_floor.target(allow_everything()))
    launch = allow_everything().gpu()["launch"]
    for wgmma in (False, True):
        found = gpu_floor.forecasts(planned, batch, wgmma)
        assert all(step.predicted >= step.floor + launch * 0.999 for step in found if step.floor)
        assert any("wgmma" in step.kernel for step in found) == wgmma
    assert not any("wgmma" in step.kernel for step in gpu_floor.forecasts(planned, batch))


def test_the_table_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_floor, "NETWORKS", ("mobilenet_v3_small",))
    monkeypatch.setattr(gpu_floor, "BATCHES", (1, 4))
    document = tmp_path / "cuda.md"
    monkeypatch.setattr(gpu_floor, "DOCUMENT", document)
    document.write_text(f"before\n{gpu_floor.BEGIN}\nold\n{gpu_floor.END}\nafter\n")
    assert gpu_floor.main([]) == 0
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    cells = text.split("| mobilenet_v3_small |")[1].split("|")[:2]
    (one, told, hopper, blocks), (four, *_) = (
        [float(v) for v in cell.split("/")] for cell in cells
    )
    assert 0 < one < four < 4 * one + 1  # weights are read once
    assert one < blocks <= hopper <= told
    capsys.readouterr()
    assert gpu_floor.main(["mobilenet_v3_small", "2"]) == 0
    assert "in all, batch 2" in capsys.readouterr().out
    assert gpu_floor.main(["no_such_network"]) == 1
    document.write_text("no marks")
    with pytest.raises(ValueError, match="has no section"):
        gpu_floor.write()
