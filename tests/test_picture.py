"""The picture of a network: well-formed, every layer in it, nothing over anything else, no text outside its box."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

import pycnn
from pycnn.picture.layout import Box, place
from pycnn.picture.style import text_width

SVG = "{http://www.w3.org/2000/svg}"
NAMES = [
    "small_cnn", "resnet50", "googlenet", "densenet121", "unet", "efficientnet_b0", "mobilevit_xxs",
    "diffusion_unet", "inception_v3",
]  # fmt: skip


def picture(name):
    variant = pycnn.registry.find_model(name)
    with torch.device("meta"):
        net = pycnn.create_model(name)
    found = pycnn.summary(net, (1, *variant.input_size), *variant.family.extra_inputs)
    return found, ET.fromstring(found.svg())


def rects(element, kind, dx=0.0, dy=0.0):
    """(x0, y0, x1, y1, texts) of every rect of a class, in the document's coordinates."""
    moved = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
    if moved:
        dx, dy = dx + float(moved[1]), dy + float(moved[2])
    found = []
    for child in element:
        if child.tag == f"{SVG}rect" and child.get("class") == kind:
            texts = [e for e in element if e.tag == f"{SVG}text"]
            found.append(
                (dx, dy, dx + float(child.get("width")), dy + float(child.get("height")), texts)
            )
        found += rects(child, kind, dx, dy)
    return found


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_stand_apart_and_hold_their_text(name):
    _, svg = picture(name)
    blocks = rects(svg, "block")
    assert len(blocks) > 5
    for i, a in enumerate(blocks):
        assert not any(overlap(a, b) for b in blocks[:i])
        assert a[0] >= 0 and a[2] <= float(svg.get("width")) and a[3] <= float(svg.get("height"))
        for text in a[4]:
            bold = text.get("font-weight") is not None
            assert text_width(text.text, float(text.get("font-size")), bold) <= a[2] - a[0] - 10
            assert 8 <= float(text.get("y")) <= a[3] - a[1] - 4
    groups = rects(svg, "group")
    for i, a in enumerate(groups):
        assert not any(overlap(a, b) for b in groups[:i])
        for b in blocks:  # inside or outside
            assert not overlap(a, b) or (
                a[0] <= b[0] and b[2] <= a[2] and a[1] <= b[1] and b[3] <= a[3]
            )


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_in_a_block_or_in_a_repeat(name):
    found, svg = picture(name)
    titles = [e.text or "" for e in svg.iter(f"{SVG}title")]
    told = {line for title in titles for line in title.split("\n")}
    labels = [e.text for e in svg.iter(f"{SVG}text") if re.search(r"\(\d+ times\)$", e.text or "")]
    groups = [e for e in svg.iter(f"{SVG}rect") if e.get("class") == "group"]
    repeated = [p for g in groups if ", " in g[0].text for p in g[0].text.split(", ")]
    for row in found.rows:
        shown = f"{row.path or '(model)'}: {row.kind} {row.window}".strip() in told
        assert shown or any(f"{row.path}.".startswith(f"{p}.") for p in repeated), row
    counts = sum(int(re.search(r"\((\d+) times\)$", label)[1]) for label in labels)
    assert counts == len(repeated)


def test_residual_arrows_and_repeats_of_resnet50():
    found, svg = picture("resnet50")
    texts = [e.text for e in svg.iter(f"{SVG}text")]
    assert texts[0] == "ResNet: 25.6 M parameters, 4.09 G MACs"
    for text in (
        "Stem",
        "Stage 4",
        "High-level semantics",
        "1×2048×7×7",
        "layer3.1 to layer3.5 (5 times)",
    ):
        assert text in texts
    skips = [e for e in svg.iter(f"{SVG}polyline") if e.get("class") == "skip"]
    assert (
        len(skips) == 4
    )  # of the repeated blocks; the first of a stage has its projection instead
    assert len(found.rows) == 175


def test_long_skips_are_named_where_they_arrive():
    _, svg = picture("unet")
    texts = [e.text for e in svg.iter(f"{SVG}text")]
    assert sum(text.startswith("+ from ") for text in texts) == 4
    assert any(re.fullmatch(r"\+ from .* \(stage 3\)", text) for text in texts)


def test_names_are_escaped(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x + 1

    Odd.__name__ = "A<B>&C"
    path = tmp_path / "odd.svg"
    pycnn.summary(nn.Sequential(Odd()), (1, 2, 4, 4)).to_svg(path)
    assert "A<B>&C add" not in path.read_text()
    assert any("A<B>&C" in (e.text or "") for e in ET.parse(path).iter(f"{SVG}text"))
    with pytest.raises(OSError, match="none"):
        pycnn.summary(nn.ReLU(), (1, 2)).to_svg(tmp_path / "none" / "x.svg")


def test_layout_of_a_branch_and_a_skip():
    boxes = [Box(10, 10) for _ in range(5)]
    # 0 -> 1 -> 2 -> 4, beside it 0 -> 3 -> 4, and past all 0 -> 4
    placed = place(boxes, [(0, 1), (1, 2), (0, 3), (2, 4), (3, 4), (0, 4)])
    assert boxes[0].x == boxes[1].x == boxes[2].x == boxes[4].x < boxes[3].x
    assert boxes[3].y == boxes[1].y < boxes[2].y < boxes[4].y
    (skip,) = [edge for edge in placed.edges if edge.skip]
    assert max(x for x, _ in skip.points) > boxes[3].x + boxes[3].width
    assert placed.width > max(x for x, _ in skip.points)
