"""Writes what follows from the table of models: docs/models.md and the figures that `pycnn list` shows.

    python tools/models_table.py

tests/test_models_table.py says when it is to be run.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pycnn
from pycnn.models.figures import FILE, Figures, count
from pycnn.registry import TASKS, Variant, find_model

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
HEAD = """\
# Models

Written by `tools/models_table.py` from the registry; `pycnn list` shows the same.

```python
net = pycnn.create_model("resnet50", num_classes=10, in_channels=1)
net = pycnn.create_model("resnet50", pretrained="resnet50.pth")  # or .safetensors, or a state_dict
backbone = pycnn.create_model("resnet50", features_only=True, out_indices=(1, 2, 3, 4))
maps = backbone(x)  # a list
```

Parameters are of the default network; MACs are multiply-adds of its convolutions and linear layers for one image of the
input size. A backbone's reductions are image height over map height of each stage of `features_only=True`.
"""


def measured() -> dict[str, Figures]:
    """Every model's figures, counted."""
    return {name: count(name) for name in pycnn.list_models()}


def figures_text(found: dict[str, Figures]) -> str:
    """The content of the file of figures: a line a model, so that changes are seen line by line."""
    rows = (f"{json.dumps(name)}: {json.dumps(vars(row))}" for name, row in found.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


def page(found: dict[str, Figures]) -> str:
    """docs/models.md."""
    parts = [HEAD]
    for task in TASKS:
        variants = [find_model(name) for name in pycnn.list_models(task=task)]
        if variants:
            parts.append(f"## {task.capitalize()}\n")
        order = sorted(variants, key=lambda v: (v.family.name, str(v.family.paper)))
        for _, group in itertools.groupby(order, key=lambda v: (v.family.name, v.family.paper)):
            parts.append(_section(list(group), found))
    return "\n".join(parts)


def _section(variants: list[Variant], found: dict[str, Figures]) -> str:
    family = variants[0].family
    lines = [f"### {family.name}", "", f"{_cite(variants[0])}.", ""]
    lines += ["| model | parameters | GMACs | input |", "|---|---:|---:|---|"]
    for v in variants:
        c, h, w = v.input_size
        row = found[v.name]
        lines.append(f"| `{v.name}` | {row.parameters:,} | {row.macs / 1e9:.3f} | {c}×{h}×{w} |")
    options = sorted({o for v in variants for o in v.options if o not in v.fixed})
    lines += ["", "Options: " + ", ".join(f"`{option}`" for option in options) + "."]
    if family.stages is not None:
        lines[-1] += f" Reductions: {', '.join(map(str, family.stages))}."
    return "\n".join([*lines, ""])


def _cite(variant: Variant) -> str:
    paper = variant.family.paper
    text = f"{paper.authors} {paper.year}: *{paper.title}*"
    if paper.arxiv is None:
        return text
    return f"{text}, [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"


if __name__ == "__main__":
    counted = measured()
    FILE.write_text(figures_text(counted))
    PAGE.write_text(page(counted))
    print(f"{len(counted)} models: {FILE.name}, {PAGE.name}")
