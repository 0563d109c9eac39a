"""The `pycnn` command. Results go to stdout, progress and errors to stderr.

Exit status: 0 done, 1 a result or an argument's value is wrong (one sentence on stderr), 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from pycnn._version import __version__
from pycnn.extras import MissingExtraError

_ORDER = (
    "list", "choose", "run", "summary", "explain", "verify", "profile", "bench", "demo", "env",
)  # fmt: skip


class _InOrder(typer.core.TyperGroup):
    """Commands in the order in which a newcomer needs them, then what `_ORDER` does not name."""

    def list_commands(self, ctx: Any) -> list[str]:
        rest = [name for name in self.commands if name not in _ORDER]
        return [name for name in (*_ORDER, *rest) if name in self.commands]


app = typer.Typer(
    name="pycnn",
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"pycnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Convolutional networks of PyTorch, run through fused kernels."""


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


def command(
    name: str, cls: type[typer.core.TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
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

        app.command(name=name, cls=cls)(guarded)
        return guarded

    return register
