"""The `pycnn` command. Results go to stdout, progress and errors to stderr.

Exit status: 0 done, 1 a result or an argument's value is wrong (one sentence on stderr), 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

import pycnn
from pycnn import _C
from pycnn.demo import MissingExtraError, run_demo
from pycnn.models import create_model
from pycnn.models.figures import describe
from pycnn.registry import find_model, list_models

app = typer.Typer(
    name="pycnn",
    help="Convolutional networks of PyTorch, run through fused kernels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Entry point: run the command line and exit."""
    try:
        app(prog_name="pycnn")
    except SystemExit as end:
        if end.code == 130:
            # A Ctrl-C that passed through an exec() of a string (torch imports some modules that way) makes CPython
            # end the process by SIGINT instead of by the status asked for.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: a command of the app whose expected errors are one sentence, and whose Ctrl-C is status 130."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except KeyboardInterrupt:
                print("pycnn: interrupted", file=sys.stderr)
                raise typer.Exit(130) from None
            except BrokenPipeError:  # the reader of stdout is gone, as in `pycnn list | head -1`
                raise
            except (MissingExtraError, OSError, RuntimeError, ValueError) as error:
                print(f"pycnn: {error}", file=sys.stderr)
                raise typer.Exit(1) from None

        app.command(name=name)(guarded)
        return guarded

    return register


@command("list")
def list_command(
    pattern: Annotated[str | None, typer.Argument(help="Shell pattern; default: all.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's, as segmentation.")] = None,
    as_json: Json = False,
) -> None:
    """List the models that create_model knows.

    GMACs are 10⁹ multiply-adds of the convolutions and linear layers for one image of the input size.

    Examples: [bold]pycnn list[/], [bold]pycnn list 'resnet*' --json[/], [bold]pycnn list --task segmentation[/]
    """
    rows = [describe(name) for name in list_models(pattern, task=task)]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        # a terminal's own width; one line a model for whoever reads a pipe
        console = Console() if sys.stdout.isatty() else Console(width=180)
        table = Table("model", "family", "task", "input")
        table.add_column("parameters", justify="right")
        table.add_column("GMACs", justify="right")
        table.add_column("paper")
        for row in rows:
            table.add_row(*_cells(row))
        for column in table.columns[:-1]:
            column.no_wrap = True
        console.print(table)
    if not rows:
        wanted = repr(pattern) if task is None else f"{pattern or '*'!r} with task {task!r}"
        raise ValueError(f"no model matches {wanted}; `pycnn list` shows all")


def _cells(row: dict[str, Any]) -> list[str]:
    c, h, w = row["input_size"]
    paper = row["paper"]
    first, *others = paper["authors"].removesuffix(" et al.").split(", ")
    et_al = " et al." if others or "et al." in paper["authors"] else ""
    arxiv = "" if paper["arxiv"] is None else f", arXiv:{paper['arxiv']}"
    return [
        row["name"], row["family"], row["task"], f"{c}×{h}×{w}", f"{row['parameters']:,}",
        f"{row['macs'] / 1e9:.3f}", f"{first}{et_al} {paper['year']}{arxiv}",
    ]  # fmt: skip


@command("explain")
def explain(
    name: Annotated[str, typer.Argument(help="A model of `pycnn list`.")],
    batch: Annotated[int, typer.Option(min=1, help="Images in the batch.")] = 1,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width; default: the model's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the steps an optimised model runs: kernel, sizes, what was fused, why something was not.

    Examples: [bold]pycnn explain resnet18[/], [bold]pycnn explain small_cnn --batch 8 --json[/]
    """
    c, h, w = find_model(name).input_size
    image = (h, w) if size is None else (size, size)
    fast = pycnn.optimize(create_model(name).eval())
    with torch.inference_mode():
        report = pycnn.explain(fast, torch.zeros(batch, c, *image))
    print(report.to_json() if as_json else report)


@command("env")
def env(as_json: Json = False) -> None:
    """Show versions, the machine's instruction sets and the number of threads.

    Examples: [bold]pycnn env[/], [bold]pycnn env --json[/]
    """
    facts = {
        "pycnn": pycnn.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        **_C.machine(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table("fact", "value")
    for fact, value in facts.items():
        table.add_row(fact, ", ".join(value) if isinstance(value, list) else str(value))
    Console().print(table)


@command("demo")
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for demo.png.")] = Path("demo"),
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Write no demo.png.")] = False,
    seconds: Annotated[
        float, typer.Option(min=0, help="Length of each of the 4 turns of an engine.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Train a LeNet on real handwritten digits, optimise it, compare predictions, time it and a ResNet-18.

    Exit status 1 if torch and pycnn predict differently on any held-out image.

    Examples: [bold]pycnn demo[/], [bold]pycnn demo --out /tmp/demo[/], [bold]pycnn demo --no-plot --json[/]
    """
    progress = Console(stderr=True)
    result = run_demo(progress, epochs=epochs, out=None if no_plot else out, seconds=seconds)
    found = result.comparison
    if as_json:
        print(json.dumps(result.record(), indent=2))
    else:
        console = Console()
        console.print(
            f"held-out digits: accuracy {found.accuracy_pycnn:.4f} (torch {found.accuracy_torch:.4f}), "
            f"{found.images - found.different} of {found.images} predictions equal"
        )
        console.print(result.table())
        if result.plot is not None:
            console.print(f"plot: {result.plot}")
    if found.different:
        raise ValueError(f"{found.different} of {found.images} predictions differ from torch's")
