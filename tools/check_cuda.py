"""Builds pycnn._cuda with nvcc, warnings as errors, and holds what each kernel needs and uses against a table.

    python tools/check_cuda.py [--write]

The table is tools/cuda_resources.json. Of every kernel on every architecture: registers and static shared memory may
not grow; spills, local memory and wgmma instructions that ptxas serialises are errors; what it uses of matrix, 16-byte
and asynchronous instructions may not vanish. Kernels of sm_90 must wait for those before them, and let the next one
start, and load and store nothing before that but by asynchronous copies (of weights); those of sm_80 must not.
Instructions are seen where there is a cuobjdump (nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm on PyPI, in the extra
`dev`). Without an nvcc of at least 12.4 nothing is checked, and it says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tools" / "cuda_resources.json"
BUILD = ROOT / "build" / "check_cuda"
ARCHITECTURES = ("sm_80", "sm_90a")
# Instructions that a kernel is written for, by what they begin with and hold.
USES = {
    "matrix": ("HMMA.", ""), "ldmatrix": ("LDSM.", ""), "cp_async16": ("LDGSTS.", ".128"),
    "load16": ("LDG.", ".128"), "store16": ("STG.", ".128"),
    "wgmma": ("HGMMA.", ""), "tma_load": ("UTMALDG.", ""), "tma_im2col": ("UTMALDG.", ".IM2COL"),
    "tma_store": ("UTMASTG", ""), "mbarrier": ("SYNCS.", ""), "cluster": ("UCGABAR", ""),
    "waits": ("ACQBULK", ""), "starts_next": ("PREEXIT", ""),
}  # fmt: skip
LOCAL = ("LDL", "STL")  # loads and stores of local memory
GLOBAL = ("LDG.", "STG.", "UTMASTG")  # what a kernel may do only once it has waited
# ptxas makes products of wgmma wait for each other, and says so as a remark.
SERIALISED = re.compile(r"\((C75\d\d)\) Potential Performance Loss[^\n]*?'(\w+)'")
Needs = dict[str, Any]
Resources = dict[str, Needs]  # "architecture kernel" -> what it needs and uses


def build_script() -> ModuleType:
    """setup.py, which knows how CMake is called."""
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_name(mangled: str) -> str:
    """The mangled name without the namespace."""
    return re.sub(r"^_ZN5pycnn4cuda\d+", "", mangled)


def build() -> str:
    """Build the library anew; what the compilers said. SystemExit: it does not compile, or spills."""
    shutil.rmtree(BUILD, ignore_errors=True)
    setup = build_script()
    command = setup.configure_command(BUILD, BUILD, setup.torch_dir(), cuda=True)
    command += ["-DCMAKE_CUDA_FLAGS=-Xptxas=-v"]
    make = [command[0], "--build", str(BUILD), "--target", "_cuda", "-j", str(setup.jobs())]
    said = ""
    for each in (command, make):
        done = subprocess.run(each, capture_output=True, text=True, cwd=ROOT)
        said += done.stdout + done.stderr
        if done.returncode != 0:
            raise SystemExit(f"pycnn._cuda does not build:\n{said[-6000:]}")
    return said


def resources(said: str) -> Resources:
    """What ptxas said of every kernel."""
    found: Resources = {}
    pattern = (
        r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes spill stores.*?"
        r"Used (\d+) registers([^\n]*)"
    )
    for name, architecture, spills, registers, rest in re.findall(pattern, said, re.S):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[f"{architecture} {kernel_name(name)}"] = {
            "registers": int(registers),
            "shared_bytes": int(shared[1]) if shared else 0,
            "spill_bytes": int(spills),
        }
    if not found:
        raise SystemExit(f"ptxas named no kernel:\n{said[-2000:]}")
    return found


def serialised(said: str) -> list[str]:
    """One sentence for each kernel whose wgmma instructions ptxas serialises."""
    found = sorted({(kernel_name(name), code) for code, name in SERIALISED.findall(said)})
    return [f"{name}: ptxas serialises its wgmma instructions ({code})" for name, code in found]


def instructions(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """(kernel, instruction) of a listing of cuobjdump."""
    architecture = kernel = ""
    for line in lines:
        if found := re.match(r"arch = (\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function : (\w+)", line):
            kernel = f"{architecture} {kernel_name(found[1])}"
        elif found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", line):
            yield kernel, found[1]


def uses(lines: Iterator[str]) -> dict[str, set[str]]:
    """Which of `USES` each kernel has; "local" where it touches local memory, "early" where it moves data by its own
    loads and stores before it has waited for the kernels before it."""
    found: dict[str, set[str]] = {}
    for kernel, instruction in instructions(lines):
        mine = found.setdefault(kernel, set())
        mine.update(
            w for w, (b, h) in USES.items() if instruction.startswith(b) and h in instruction
        )
        if instruction.startswith(LOCAL):
            mine.add("local")
        if instruction.startswith(GLOBAL) and "waits" not in mine and _starts_early(kernel):
            mine.add("early")
    return found


def _starts_early(kernel: str) -> bool:
    return kernel.startswith("sm_90")


def out_of_order(name: str, mine: set[str]) -> list[str]:
    """One sentence for each way in which a kernel may run beside those before it and is not made for it."""
    if not _starts_early(name):
        wrong = sorted(mine & {"waits", "starts_next"})
        return [f"{name}: {what} is for kernels of sm_90" for what in wrong]
    said = [f"{name} does not wait for the kernels before it"] * ("waits" not in mine)
    said += [f"{name} does not let the next kernel start"] * ("starts_next" not in mine)
    return said + [f"{name} loads or stores before it has waited"] * ("early" in mine)


def cuobjdump() -> str | None:
    """The program on PATH, or as its package on PyPI has it."""
    folders = [Path(p) / "nvidia" / "cu13" / "bin" for p in sys.path]
    path = os.pathsep.join([os.environ["PATH"], *map(str, folders)])
    os.environ["PATH"] = path  # it calls nvdisasm
    return shutil.which("cuobjdump")


def problems(known: Resources, found: Resources) -> list[str]:
    """One sentence for each kernel that is not as the table has it."""
    said = []
    for name, needs in found.items():
        if name not in known:
            said.append(f"{name} is not in {TABLE.name}: run with --write")
            continue
        for what in ("registers", "shared_bytes", "spill_bytes"):
            if needs[what] > known[name][what]:
                said.append(f"{name} needs {needs[what]} {what}, the table has {known[name][what]}")
        if "uses" in needs:
            gone = sorted(set(known[name].get("uses", [])) - set(needs["uses"]))
            said += [f"{name} has no {what} instruction any more" for what in gone]
            if "local" in needs["uses"]:
                said.append(f"{name} touches local memory")
            said += out_of_order(name, set(needs["uses"]))
    said += [f"{name} is in {TABLE.name} and in no source" for name in known if name not in found]
    return said


def main() -> int:
    setup = build_script()
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc")
    if nvcc is None or setup.release_of(nvcc) < setup.LEAST_NVCC:
        least = ".".join(map(str, setup.LEAST_NVCC))
        print(f"CUDA kernels not compiled: there is no nvcc of release {least} or later")
        return 0
    compiled = build()
    found = resources(compiled)
    dump = cuobjdump()
    if dump is None:
        print("instructions not looked at: there is no cuobjdump")
    else:
        library = next(BUILD.glob("_cuda*.so"))
        with subprocess.Popen([dump, "-sass", library], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for name, mine in uses(iter(run.stdout)).items():
                found[name]["uses"] = sorted(mine)
    if "--write" in sys.argv[1:]:
        TABLE.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    said = problems(json.loads(TABLE.read_text()), found) + serialised(compiled)
    print("\n".join(said) or f"{len(found)} CUDA kernels compile as the table has them")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
