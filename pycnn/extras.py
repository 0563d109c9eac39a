"""Packages that only some commands need: matplotlib, scikit-learn."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the message says how to get it."""


def load_extra(module: str, package: str, extra: str) -> Any:
    """Import `module`, or raise `MissingExtraError` naming the `package` it is in and pycnn's `extra` that has it."""
    try:
        with ctrl_c_waits():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the {extra} needs {package}, which cannot be imported ({error}): pip install 'pycnn[{extra}]'"
        ) from error


def load_matplotlib(extra: str = "plot") -> tuple[Any, Any]:
    """(Figure, FigureCanvasAgg): drawing into files, no display asked for."""
    figure = load_extra("matplotlib.figure", "matplotlib", extra).Figure
    return figure, load_extra(
        "matplotlib.backends.backend_agg", "matplotlib", extra
    ).FigureCanvasAgg


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C inside raises KeyboardInterrupt on leaving: the import of a C extension may swallow it, and one which
    falls into exec() makes Python 3.11 die by the signal although it is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
