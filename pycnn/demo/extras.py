"""Packages which only the demo needs."""

from __future__ import annotations

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """A package of the `demo` extra is not installed; the message says how to get it."""


def load_extra(module: str, package: str) -> Any:
    """Import `module`, or raise `MissingExtraError` naming the `package` it is in."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the demo needs {package}, which cannot be imported ({error}): pip install 'pycnn[demo]'"
        ) from error
