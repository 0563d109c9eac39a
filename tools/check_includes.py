"""Checks that C++ includes point down only: base/ <- ops/<op>/ <- runtime/, sibling ops never.

Also that torch is seen by the doors only (ops/<op>/op.cpp and what they share, ops/door.*), Python by
the binding only (runtime/bind.cpp and its parts), and that a quoted include names a file of csrc/ by
its path from there. Prints one line a violation; exit status 1 if there is any.

    python tools/check_includes.py [csrc folder]
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
LAYERS = ("base", "ops", "runtime")
TORCH = ("torch/", "ATen/", "c10/", "ops/door.h")
SHARED_DOOR = ("ops/door.h", "ops/door.cpp")
PYTHON = (
    "pybind11/",
    "Python.h",
    "runtime/bind_params.h",
    "runtime/direct.h",
    "runtime/guard.h",
    "runtime/tensor_words.h",
)
BINDING = (
    *("runtime/bind.cpp", "runtime/bind_params.h", "runtime/cuda/bind.cpp"),
    *("runtime/direct.h", "runtime/direct.cpp", "runtime/guard.h", "runtime/guard.cpp"),
    *("runtime/tensor_words.h", "runtime/tensor_words.cpp"),
)


def violation(file: PurePosixPath, name: str, root: Path) -> str | None:
    """Why `file` must not include `name`, or None. Both are relative to csrc/."""
    if name.startswith(TORCH):
        door = file.parts[0] == "ops" and (file.name == "op.cpp" or file.as_posix() in SHARED_DOOR)
        return None if door else "only ops/<op>/op.cpp and ops/door.* may see torch"
    if name.startswith(PYTHON):
        return None if file.as_posix() in BINDING else f"only {', '.join(BINDING)} may see Python"
    target = PurePosixPath(name)
    if target.parts[0] not in LAYERS:
        return None
    if not (root / target).is_file():
        return "no such file under csrc/"
    here, there = file.parts[0], target.parts[0]
    if LAYERS.index(there) > LAYERS.index(here):
        return f"{here}/ is below {there}/"
    if here == there == "ops" and file.parts[1] != target.parts[1]:
        return "ops never include each other"
    return None


def violations(root: Path) -> Iterator[str]:
    """One line for each include that breaks a rule, and for each source outside the layers."""
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        file = PurePosixPath(path.relative_to(root).as_posix())
        if file.parts[0] not in LAYERS:
            yield f"{file}: not in one of {', '.join(LAYERS)}"
            continue
        for quote, name in INCLUDE.findall(path.read_text()):
            reason = violation(file, name, root)
            if reason is None and quote == '"' and PurePosixPath(name).parts[0] not in LAYERS:
                reason = "write the path from csrc/, or <> for what is not ours"
            if reason is not None:
                yield f"{file}: include of {name}: {reason}"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "csrc"
    if not root.is_dir():
        print(f"check_includes: {root} is not a folder", file=sys.stderr)
        return 2
    found = list(violations(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
