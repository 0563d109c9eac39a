"""`pycnn run`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor, nn

from pycnn.cli.app import Json, command
from pycnn.cli.files import PROGRAMS
from pycnn.cli.images import (
    Preparation,
    check_image,
    find_images,
    load_pillow,
    read_image,
    write_classes,
    write_colours,
)
from pycnn.cli.network import Threads
from pycnn.cli.program import program_target
from pycnn.cli.target import TASKS, Target, zoo_target

PATIENCE = 2.0  # seconds without a progress bar
Weights = Annotated[Path | None, typer.Option(help="The network's .pth, .pt or .safetensors file.")]
Classes = Annotated[int | None, typer.Option(min=1, help="Default: the model's own.")]
Channels = Annotated[
    int | None, typer.Option(min=1, max=3, help="1 or 3; default: the model's own.")
]
Size = Annotated[
    int | None,
    typer.Option(min=1, help="Height and width; default: a classifier's own, else the picture's."),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Subtracted, white being 1: 0.5 or 0.5,0.4,0.4, or none. Default: ImageNet's for "
        "classification and segmentation of colours, else none."
    ),
]
Std = Annotated[str | None, typer.Option(help="Divided by, as --mean.")]


@dataclass(frozen=True)
class Job:
    """What becomes of a batch's results."""

    target: Target
    how: Preparation
    labels: list[str] | None
    top_k: int
    out: Path | None

    def results(self, paths: Sequence[Path], y: Tensor) -> Iterator[dict[str, Any]]:
        """One record an image; pictures are written on the way."""
        for path, image in zip(paths, y, strict=True):
            record: dict[str, Any] = {"image": str(path)}
            if self.target.task == "classification":
                record["classes"] = self._top(image.softmax(0))
            else:
                record["picture"] = str(self.picture(path))
                if self.target.task == "segmentation":
                    record["classes"] = self._segmented(path, image)
                else:
                    write_colours(self.picture(path), image / self.how.white)
            yield record

    def picture(self, path: Path) -> Path:
        assert self.out is not None  # checked before anything runs
        return self.out / f"{path.stem}.png"

    def _segmented(self, path: Path, logits: Tensor) -> list[dict[str, Any]]:
        """Writes the picture; the classes with the most pixels."""
        one = len(logits) == 1  # a single logit says "object", by its sign
        classes = (logits[0] > 0).long() if one else logits.argmax(0)
        write_classes(self.picture(path), classes)
        counts = torch.bincount(classes.flatten(), minlength=2 if one else len(logits))
        return [row for row in self._top(counts / classes.numel()) if row["share"] > 0]

    def _top(self, shares: Tensor) -> list[dict[str, Any]]:
        best = shares.topk(min(self.top_k, len(shares)))
        return [
            {"class": i, "label": self.labels[i] if self.labels else None, "share": share}
            for share, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


@command("run")
def run_command(
    name: Annotated[
        str, typer.Argument(help=f"A model of `pycnn list`, or a file: {' or '.join(PROGRAMS)}.")
    ],
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or folders of them.")],
    weights: Weights = None,
    num_classes: Classes = None,
    in_channels: Channels = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    task: Annotated[
        str,
        typer.Option(help=f"What a file is for: {', '.join(TASKS)}; default: the first."),
    ] = "",
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, one a line.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images of one size run together.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures of segmentation and restoration.")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Run a model on pictures: the likeliest classes of each, or a picture of classes or a better one into a folder.

    A classifier sees the middle of a picture, its shorter side resized. The
    pixels of a class picture are class numbers. Files: what torch.export.save
    (.pt2) or pycnn.save (.pycnn) wrote. torch reads parts of a .pt2 file with
    pickle: run only those of people you trust.

    Examples: [bold]pycnn run resnet50 cat.jpg --weights resnet50.pth --labels names.txt[/],
    [bold]pycnn run unet scans --weights unet.pth --out masks[/],
    [bold]pycnn run mine.pt2 cat.jpg[/]
    """  # fmt: skip
    load_pillow()
    given = {"num_classes": num_classes, "in_channels": in_channels, "weights": weights}
    target = _target(name, task, given, out, batch)
    paths = find_images(images)
    how = target.preparation(size, mean, std)
    names = _read_labels(labels, target.num_classes, target.name)
    for path in paths:
        check_image(path, how.channels, target.name)
    job = Job(target, how, names, top_k, out)
    if out is not None and target.task != "classification":
        _make_folder(job, paths)
    fast = target.load(threads)
    if not target.trained:
        print(
            f"pycnn: no --weights: {name} is untrained, its answers mean nothing", file=sys.stderr
        )
    records = []
    for record in _run(fast, job, paths, batch):
        records.append(record)
        if not as_json:
            print(_line(record, several=len(paths) > 1))
    if as_json:
        print(json.dumps(records, indent=2))


def _run(fast: nn.Module, job: Job, paths: Sequence[Path], batch: int) -> Iterator[dict[str, Any]]:
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(job.target.name, total=len(paths))
    shown = False
    try:
        for some, x in _batches(paths, job.how, batch):
            yield from job.results(some, _call(fast, x, job.target.name))
            progress.advance(task, len(some))
            if not shown and time.monotonic() - began > PATIENCE:
                progress.start()
                shown = True
    finally:
        if shown:
            progress.stop()


def _batches(
    paths: Sequence[Path], how: Preparation, batch: int
) -> Iterator[tuple[list[Path], Tensor]]:
    """Neighbours of one size, at most `batch` of them: (their paths, [n, c, h, w])."""
    some: list[Path] = []
    waiting: list[Tensor] = []
    for path in paths:
        x = read_image(path, how)
        if waiting and (len(waiting) == batch or waiting[0].shape != x.shape):
            yield some, torch.stack(waiting)
            some, waiting = [], []
        some.append(path)
        waiting.append(x)
    yield some, torch.stack(waiting)


def _call(fast: nn.Module, x: Tensor, name: str) -> Tensor:
    try:
        with torch.inference_mode():
            y = fast(x)
    except (RuntimeError, ValueError) as error:
        h, w = x.shape[2:]
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name} cannot run on pictures of {h}x{w} pixels: {reason}") from None
    found: Tensor = y["out"] if isinstance(y, dict) else y
    return found


def _target(name: str, task: str, given: dict[str, Any], out: Path | None, batch: int) -> Target:
    """The network or program called `name`. Raises ValueError: options that do not go with it."""
    if Path(name).suffix in PROGRAMS:
        set_too = [
            f"--{key.replace('_', '-')}" for key, value in given.items() if value is not None
        ]
        if set_too:
            raise ValueError(f"{name} is a whole program: {', '.join(set_too)} cannot change it")
        target = program_target(Path(name), task or "classification")
    elif task:
        raise ValueError(f"--task is for {', '.join(PROGRAMS)} files; the task of {name} is known")
    else:
        target = zoo_target(name, **given)
    if target.task != "classification" and out is None:
        raise ValueError(f"{target.name} makes pictures: say where to with --out FOLDER")
    if target.task == "classification" and out is not None:
        raise ValueError(f"{target.name} is a classifier, which writes nothing to --out {out}")
    if target.batch not in (None, batch):
        raise ValueError(
            f"{target.name} was exported for batches of {target.batch}: --batch {target.batch}"
        )
    return target


def _read_labels(path: Path | None, classes: int | None, name: str) -> list[str] | None:
    if path is None:
        return None
    if classes is None:
        raise ValueError(f"{name} has no classes that --labels {path} could name")
    found = path.read_text(encoding="utf-8").rstrip().splitlines()
    if len(found) != classes:
        raise ValueError(f"{path} names {len(found)} classes, {name} has {classes}")
    return found


def _make_folder(job: Job, paths: Sequence[Path]) -> None:
    """Create the folder, unless two pictures would go into one file, or one over its source."""
    taken: dict[Path, Path] = {}
    sources = {path.resolve() for path in paths}
    for path in paths:
        target = job.picture(path)
        if target in taken:
            raise ValueError(f"{taken[target]} and {path} would both be written to {target}")
        if target.resolve() in sources:
            raise ValueError(f"--out {job.out}: {target} is one of the pictures to read")
        taken[target] = path
    assert job.out is not None
    job.out.mkdir(parents=True, exist_ok=True)


def _line(record: dict[str, Any], several: bool) -> str:
    rows = [
        f"{row['share']:7.2%}  {row['label'] or row['class']}" for row in record.get("classes", [])
    ]
    if "picture" in record:
        return "\n".join([f"{record['image']} -> {record['picture']}", *rows])
    return "\n".join([record["image"], *rows] if several else rows)
