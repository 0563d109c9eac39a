"""Which kernel was measured to be the fastest for a problem: a table in a file that people can read and pass on.

Beneath a user's own table are those that come with the package, a file a processor: what was measured on the same kind
of machine holds until something was measured on this one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycnn.files import write_text
from pycnn.planning.params import Params

log = logging.getLogger("pycnn.tuned")

_FORMAT = 1
SHIPPED = Path(__file__).with_name(
    "tables"
)  # of the package, written by tools/ship_tuned.py; may be none
_WORTH = 1.03  # times faster than the rule's choice: less is noise, and a choice that flips costs bits that flip


@dataclass(frozen=True)
class Choice:
    """`kernel`: the one to take. `microseconds` of all that were measured."""

    kernel: str
    microseconds: Mapping[str, float]


def problem(op: str, params: Params, threads: int) -> str:
    """The key of a problem: all that its kernel's time depends on besides the processor."""
    fields = " ".join(f"{name}={value}" for name, value in sorted(params.items()))
    return f"{op} threads={threads} {fields}"


class Table:
    """Choices by processor (with its instruction set) and problem. Thread-safe."""

    def __init__(self, path: Path | None = None, shipped: Path | None = None) -> None:
        """path: what `save` writes; None: nothing. shipped: the folder of tables for what this one does not have."""
        self.path, self._shipped = path, shipped
        self._beneath: dict[str, Table] = {}
        self._choices: dict[str, dict[str, Choice]] = {}
        self._lock = threading.Lock()

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table in a file.

        Raises:
            OSError: it cannot be read. ValueError: it is not one of ours, or damaged; says how.
        """
        table = cls(path)
        try:
            table._choices = _decode(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no table of measured kernels: {error}") from error
        return table

    def find(self, processor: str, key: str) -> Choice | None:
        """What was measured there for the problem, on this machine or another such; None: nothing."""
        if self.has(processor, key):
            return self._choices[processor][key]
        beneath = self._of_package(processor)
        return None if beneath is None else beneath.find(processor, key)

    def knows(self, processor: str) -> bool:
        """Whether anything was measured there: a plan's keys need not be made where nothing was."""
        if processor in self._choices:
            return True
        beneath = self._of_package(processor)
        return beneath is not None and beneath.knows(processor)

    def _of_package(self, processor: str) -> Table | None:
        """The shipped table, read when it is first asked for; None: there are none."""
        if self._shipped is None:
            return None
        with self._lock:
            if processor not in self._beneath:
                self._beneath[processor] = _stored(self._shipped / file_name(processor))
        return self._beneath[processor]

    def has(self, processor: str, key: str) -> bool:
        """Whether the table itself, not one beneath it, has the problem."""
        return key in self._choices.get(processor, {})

    def processors(self) -> list[str]:
        """Those that it has choices of."""
        return sorted(self._choices)

    def only(self, processors: Iterable[str]) -> Table:
        """The choices of these."""
        made = Table()
        made._choices = {name: dict(self._choices[name]) for name in processors}
        return made

    def add(self, processor: str, key: str, microseconds: Mapping[str, float], rule: str) -> Choice:
        """Enter times; the choice is the fastest, or `rule` (what is chosen without a table) where that is as fast."""
        fastest = min(microseconds, key=lambda name: microseconds[name])
        as_fast = rule in microseconds and microseconds[rule] <= _WORTH * microseconds[fastest]
        made = Choice(rule if as_fast else fastest, dict(microseconds))
        with self._lock:
            self._choices.setdefault(processor, {})[key] = made
        return made

    def save(self) -> None:
        """Write the file (of its own choices), joined with what others wrote there since; it is whole or as it was."""
        if self.path is None:
            return
        with self._lock:
            mine = {processor: dict(choices) for processor, choices in self._choices.items()}
        merged = _stored(self.path)._choices
        for processor, choices in mine.items():
            merged.setdefault(processor, {}).update(choices)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(_encode(merged), indent=1) + "\n")


def _stored(path: Path, shipped: Path | None = None) -> Table:
    """The file's table; an empty one where there is none or it is damaged, which the log says."""
    table = Table(path, shipped)
    try:
        table._choices = Table.read(path)._choices
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("measured kernels are not used: %s", error)
    return table


def file_name(processor: str) -> str:
    """Of the shipped table: after the machine, whatever its instruction set and elements."""
    return re.sub(r"[^a-z0-9]+", "-", processor.partition(",")[0].lower()).strip("-") + ".json"


def table_path() -> Path | None:
    """$PYCNN_TUNED, or pycnn/tuned.json in $XDG_CACHE_HOME or ~/.cache; None for a user without a home."""
    named = os.environ.get("PYCNN_TUNED")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "pycnn" / "tuned.json"
    except RuntimeError:
        return None


_tables: dict[Path | None, Table] = {}
_tables_lock = threading.Lock()


def shared_table() -> Table:
    """The table of `table_path()`, read once a process."""
    path = table_path()
    with _tables_lock:
        if path not in _tables:
            _tables[path] = Table(None, SHIPPED) if path is None else _stored(path, SHIPPED)
        return _tables[path]


def _encode(choices: Mapping[str, Mapping[str, Choice]]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "processors": {
            processor: {
                key: {"kernel": choice.kernel, "microseconds": dict(choice.microseconds)}
                for key, choice in sorted(of.items())
            }
            for processor, of in sorted(choices.items())
        },
    }


def _decode(data: Any) -> dict[str, dict[str, Choice]]:
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise ValueError(f'expected "format": {_FORMAT}')
    processors = data.get("processors")
    if not isinstance(processors, dict):
        raise ValueError('"processors" is no object')
    return {name: _decode_choices(name, of) for name, of in processors.items()}


def _decode_choices(processor: str, data: Any) -> dict[str, Choice]:
    if not isinstance(data, dict):
        raise ValueError(f"{processor!r}: expected an object")
    found = {}
    for key, entry in data.items():
        times = entry.get("microseconds") if isinstance(entry, dict) else None
        if (
            not isinstance(times, dict)
            or entry.get("kernel") not in times
            or not all(map(_is_time, times.values()))
        ):
            raise ValueError(
                f"{processor!r}, {key!r}: expected a kernel and its time in microseconds"
            )
        found[key] = Choice(entry["kernel"], times)
    return found


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0
