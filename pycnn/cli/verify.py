"""`pycnn verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, DtypeName, Name, Size, Threads, dtype_of, network
from pycnn.optimize import optimize
from pycnn.verify import verify


@command("verify")
def verify_command(
    name: Name,
    batch: Batch = 1,
    size: Size = None,
    threads: Threads = None,
    dtype: DtypeName = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Forbid Winograd; then 1e-5 is allowed.")
    ] = False,
    tol: Annotated[
        float | None,
        typer.Option(min=0, help="Largest max|y-ref|/max|ref|; default 1e-4 or 3 times torch's."),
    ] = None,
    auto_promote: Annotated[
        bool, typer.Option("--auto-promote", help="Keep layers that are too far off in fp32.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hold every layer of an optimised model against the original in fp64; exit status 1 if one is too far off.

    Examples: [bold]pycnn verify resnet18[/], [bold]pycnn verify mobilenet_v2 --size 96 --exact --json[/]
    """
    model, arguments = network(name, batch, size)
    fast = optimize(model, exact=exact, threads=threads, dtype=dtype_of(dtype))
    found = verify(fast, model, *arguments, tol=tol, auto_promote=auto_promote)
    print(found.to_json() if as_json else found)
    if not found.ok:
        raise ValueError(found.verdict())
