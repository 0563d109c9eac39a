"""`pycnn env`."""

from __future__ import annotations

import json
import platform

import torch
from rich.console import Console
from rich.table import Table

from pycnn import _C
from pycnn._version import __version__
from pycnn.cli.app import Json, command


@command("env")
def env_command(as_json: Json = False) -> None:
    """Show versions, the machine's instruction sets and the number of threads.

    Examples: [bold]pycnn env[/], [bold]pycnn env --json[/]
    """
    facts = {
        "pycnn": __version__,
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
