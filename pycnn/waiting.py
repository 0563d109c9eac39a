"""A line on the terminal while something takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def waiting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function to tell (done, of how many), shown on stderr as a bar that is gone afterwards; nothing is shown where
    stderr is no terminal."""
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
