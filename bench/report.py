"""From a record to text: the sections between markers in README.md, docs/performance.md or others, and pictures.

    python -m bench report FILE.json ... [--documents PATH ...] [--plots FOLDER]

A section is what lies between `<!-- bench:NAME -->` and `<!-- /bench -->`; NAME is a key of `SECTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import tables
from bench.sets import is_outside
from pycnn.files import write_text
from pycnn.timing import Record

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md")


def parts(record: Record) -> tuple[Record, Record]:
    """What is of `bench.sets.OUTSIDE`, and the rest, layers among it, as (the rest, outside)."""

    def only(those: bool) -> Record:
        timings = tuple(t for t in record.timings if is_outside(t.workload) == those)
        failures = tuple(f for f in record.failures if is_outside(f.workload) == those)
        return replace(record, timings=timings, failures=failures)

    return only(False), replace(only(True), layers=())


SECTIONS: dict[str, Callable[[Record], str]] = {
    "summary": tables.summary,
    "machine": tables.machine,
    "networks": tables.networks,
    "outside": tables.outside,
    "bf16": tables.bf16,
    "setup": tables.setup,
    "layers": tables.layers,
}
_SECTION = re.compile(r"<!-- bench:(\w+) -->\n.*?<!-- /bench -->", re.S)


def regenerate(text: str, record: Record, where: str = "text") -> str:
    """`text` with every section written anew; those the record has nothing for stay as they are.

    Raises:
        ValueError: a section's name is unknown.
    """
    rest, outside = parts(record)

    def section(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in SECTIONS:
            raise ValueError(f"{where}: no section {name!r}; one of {', '.join(SECTIONS)}")
        of = outside if name == "outside" else rest
        needs = {"layers": of.layers, "machine": (*of.timings, *of.layers)}
        new = SECTIONS[name](of) if needs.get(name, of.timings) else ""
        return f"<!-- bench:{name} -->\n{new}\n<!-- /bench -->" if new else match.group(0)

    return _SECTION.sub(section, text)


def write_documents(record: Record, documents: Sequence[Path]) -> list[Path]:
    """Regenerate the sections of the documents; returns those that changed.

    Raises:
        OSError, ValueError: as `regenerate`; no document is half written.
    """
    new = {path: regenerate(path.read_text(), record, str(path)) for path in documents}
    changed = [path for path, text in new.items() if text != path.read_text()]
    for path in changed:
        write_text(path, new[path])
    return changed
