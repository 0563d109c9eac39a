"""Compiles the CUDA kernels with nvcc, warnings as errors, and holds what each needs against tools/cuda_resources.json.

    python tools/check_cuda.py [--write]

Registers and static shared memory of every kernel on every architecture may not grow past the table; spills and local
memory are errors. Without an nvcc of at least 12.4 nothing is checked, and it says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tools" / "cuda_resources.json"
ARCHITECTURES = ("sm_80", "sm_90a")
LEAST = (12, 4)
FLAGS = [
    *("-std=c++17", "-O3", "-DNDEBUG", "-Icsrc", "-cubin", "-Werror", "all-warnings"),
    *("-Xptxas", "-v,-warn-spills,-warn-lmem-usage"),
]
Resources = dict[str, dict[str, int]]  # "architecture kernel" -> what it needs


def release(nvcc: str) -> tuple[int, int]:
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def kernel_name(mangled: str) -> str:
    """The mangled name without the namespace: stable across releases of nvcc."""
    return re.sub(r"^_ZN5pycnn4cuda\d+", "", mangled)


def compile_one(nvcc: str, source: Path, architecture: str) -> Resources:
    """What ptxas says of every kernel in a file. SystemExit: it does not compile, or spills."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, f"-arch={architecture}", "-o", f"{folder}/out.cubin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise SystemExit(f"{source.relative_to(ROOT)} for {architecture}:\n{said[-4000:]}")
    found: Resources = {}
    pattern = r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers([^\n]*)"
    for name, spills, registers, rest in re.findall(pattern, said, re.S):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[f"{architecture} {kernel_name(name)}"] = {
            "registers": int(registers),
            "shared_bytes": int(shared[1]) if shared else 0,
            "spill_bytes": int(spills),
        }
    if not found:
        raise SystemExit(
            f"{source.relative_to(ROOT)} for {architecture}: ptxas named no kernel:\n{said}"
        )
    return found


def problems(known: Resources, found: Resources) -> list[str]:
    """One sentence for each kernel that is not as the table has it."""
    said = []
    for name, needs in found.items():
        if name not in known:
            said.append(f"{name} is not in {TABLE.name}: run with --write")
            continue
        for what, value in needs.items():
            if value > known[name][what]:
                said.append(f"{name} needs {value} {what}, the table has {known[name][what]}")
    said += [f"{name} is in {TABLE.name} and in no source" for name in known if name not in found]
    return said


def main() -> int:
    nvcc = shutil.which("nvcc")
    if nvcc is None or release(nvcc) < LEAST:
        print(
            f"CUDA kernels not compiled: there is no nvcc of release {'.'.join(map(str, LEAST))} or later"
        )
        return 0
    found: Resources = {}
    sources = sorted((ROOT / "csrc").rglob("*.cu"))
    for source in sources:
        for architecture in ARCHITECTURES:
            found |= compile_one(nvcc, source, architecture)
    if "--write" in sys.argv[1:]:
        TABLE.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    said = problems(json.loads(TABLE.read_text()), found)
    print(
        "\n".join(said)
        or f"{len(found)} CUDA kernels of {len(sources)} sources compile as the table has them"
    )
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
