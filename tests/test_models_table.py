"""docs/models.md and the figures of `pycnn list` are what the registry and the networks say."""

import sys
from pathlib import Path

import pytest

from pycnn.models import figures

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import models_table

STALE = "run python tools/models_table.py"


@pytest.fixture(scope="module")
def found():
    return models_table.measured()


def test_figures_are_up_to_date(found):
    assert figures.FILE.read_text() == models_table.figures_text(found), STALE


def test_page_is_up_to_date(found):
    assert models_table.PAGE.read_text() == models_table.page(found), STALE


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),  # as torchvision states them
    [
        ("alexnet", 61_100_840, 0.714),
        ("resnet50", 25_557_032, 4.089),
        ("vgg16", 138_357_544, 15.470),
        ("densenet121", 7_978_856, 2.834),
        ("mobilenet_v2", 3_504_872, 0.301),
        ("convnext_tiny", 28_589_128, 4.456),
    ],
)
def test_figures_are_those_published(name, parameters, gmacs):
    assert figures.figures(name).parameters == parameters
    assert figures.figures(name).macs / 1e9 == pytest.approx(gmacs, abs=6e-4)


def test_transposed_convolutions_are_counted_at_their_input(found):
    macs = [
        1024 * 512 * 4 * 32**2, 512 * 256 * 4 * 64**2, 256 * 128 * 4 * 128**2, 128 * 64 * 4 * 256**2,
    ]  # fmt: skip
    convs = sum(
        9 * (a * b + b * b) * side**2
        for a, b, side in [
            (1, 64, 512), (64, 128, 256), (128, 256, 128), (256, 512, 64), (512, 1024, 32),
            (1024, 512, 64), (512, 256, 128), (256, 128, 256), (128, 64, 512),
        ]
    )  # fmt: skip
    assert found["unet"].macs == sum(macs) + convs + 64 * 2 * 512**2


def test_models_outside_the_table_are_counted(monkeypatch):
    monkeypatch.setattr(figures, "_table", dict)
    assert figures.figures("lenet5") == figures.Figures(61_706, 416_520)
