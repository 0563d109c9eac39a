"""Builds pycnn._C by calling CMake once; everything about the build itself is in CMakeLists.txt.

Environment: MAX_JOBS (parallel compiles), PYCNN_CUDA=AUTO|ON|OFF, PYCNN_CUDA_ARCHS (as CMAKE_CUDA_ARCHITECTURES),
PYCNN_CMAKE_ARGS (passed on).
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
LEAST_NVCC = (12, 4)


def find_program(name: str) -> str | None:
    """The program beside this Python first (a venv need not be activated), then on PATH."""
    return shutil.which(name, path=os.path.dirname(sys.executable)) or shutil.which(name)


def torch_dir() -> Path:
    """Where torch is installed, without the second that importing it takes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"pycnn is built against the torch it will run with, and {sys.executable} has none: "
            "install torch, then run pip install --no-build-isolation ."
        )
    return Path(spec.origin).parent


def jobs() -> int:
    text = os.environ.get("MAX_JOBS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdigit() or int(text) == 0:
        raise SystemExit(f"MAX_JOBS={text}: expected a positive integer")
    return int(text)


def release_of(nvcc: str) -> tuple[int, int]:
    """(major, minor), or (0, 0) where it does not tell."""
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0, 0
    found = re.search(r"release (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def torch_has_cuda(torch: Path) -> bool:
    """Whether that torch is built for CUDA, as its version.py says."""
    text = (torch / "version.py").read_text()
    return re.search(r"^cuda\b[^=]*= *['\"]", text, re.MULTILINE) is not None


def with_cuda(torch: Path) -> bool:
    """Whether CUDA kernels are built: PYCNN_CUDA=ON or OFF says it; AUTO: where torch is for CUDA and nvcc is there."""
    choice = os.environ.get("PYCNN_CUDA", "AUTO").upper()
    if choice not in ("AUTO", "ON", "OFF"):
        raise SystemExit(f"PYCNN_CUDA={choice}: expected AUTO, ON or OFF")
    if choice == "OFF" or (choice == "AUTO" and not torch_has_cuda(torch)):
        return False
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc")
    least = ".".join(map(str, LEAST_NVCC))
    if nvcc is None or release_of(nvcc) < LEAST_NVCC:
        found = "there is none" if nvcc is None else f"{nvcc} is another"
        if choice == "ON":
            raise SystemExit(f"PYCNN_CUDA=ON needs nvcc {least} or later, and {found}")
        print(f"pycnn without CUDA kernels: they need nvcc {least} or later, and {found}")
        return False
    return True


def configure_command(build: Path, target: Path, torch: Path, cuda: bool) -> list[str]:
    """The call of CMake that makes `build` ready to put the libraries into `target`."""
    cmake, ninja = find_program("cmake"), find_program("ninja")
    pybind11 = importlib.util.find_spec("pybind11")
    needed = {"cmake": cmake, "ninja": ninja, "pybind11": pybind11}
    missing = [name for name, found in needed.items() if found is None]
    if missing:
        raise SystemExit(
            f"pycnn's build needs {' '.join(missing)}: pip install {' '.join(missing)}, "
            "then run pip install --no-build-isolation . again"
        )
    archs = os.environ.get("PYCNN_CUDA_ARCHS")
    return [
        cmake,
        *("-S", str(ROOT), "-B", str(build), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={Path(pybind11.origin).parent / 'share' / 'cmake' / 'pybind11'}",
        f"-DPYCNN_TORCH_DIR={torch}",
        f"-DPYCNN_CUDA={'ON' if cuda else 'OFF'}",
        *([f"-DPYCNN_CUDA_ARCHS={archs}"] if archs else []),
        *shlex.split(os.environ.get("PYCNN_CMAKE_ARGS", "")),
    ]


class CMakeBuild(build_ext):
    """Configures when the arguments changed, then lets ninja decide what is out of date."""

    def run(self) -> None:
        torch = torch_dir()
        target = Path(self.get_ext_fullpath("pycnn._C")).resolve().parent
        target.mkdir(parents=True, exist_ok=True)
        build = ROOT / "build" / sys.implementation.cache_tag
        command = configure_command(build, target, torch, with_cuda(torch))
        self.configure(command, build)
        subprocess.run([command[0], "--build", str(build), "-j", str(jobs())], check=True)

    def configure(self, command: list[str], build: Path) -> None:
        """Runs CMake unless the last run in this folder had the same arguments and succeeded."""
        record = build / "configured_with.txt"
        text = "\n".join(command)
        if record.exists() and record.read_text() == text and (build / "build.ninja").exists():
            return
        record.unlink(missing_ok=True)
        subprocess.run(command, check=True)
        record.write_text(text)


if __name__ == "__main__":
    setup(ext_modules=[Extension("pycnn._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
