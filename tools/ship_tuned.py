"""Puts measured kernels into the package, for everyone who has such a processor.

    python tools/ship_tuned.py TABLE.json [PROCESSOR ...]

TABLE.json is what `optimize(tune=True)` wrote (PYCNN_TUNED, or ~/.cache/pycnn/tuned.json). Choices of a processor whose
name begins with one of those given (default: all in the table) are joined into pycnn/planning/tables/<name>.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pycnn.planning import tuned
from pycnn.planning.tuned import Table, file_name


def ship(table: Table, wanted: list[str]) -> list[Path]:
    """The files written. ValueError: the table has no such processor."""
    names = table.processors()
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f"no processor {prefix!r} in the table: it has {', '.join(names)}")
    chosen = [name for name in names if not wanted or name.startswith(tuple(wanted))]
    files = dict.fromkeys(map(file_name, chosen))
    for file in files:
        part = table.only(name for name in chosen if file_name(name) == file)
        part.path = tuned.SHIPPED / file
        part.save()
    return [tuned.SHIPPED / file for file in files]


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    if not arguments:
        print(__doc__)
        return 2
    try:
        written = ship(Table.read(Path(arguments[0])), arguments[1:])
    except (OSError, ValueError) as error:
        print(f"ship_tuned: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"written: {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
