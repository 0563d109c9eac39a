"""Builds pycnn._C by calling CMake once; everything about the build itself is in CMakeLists.txt.

Environment: MAX_JOBS (parallel compiles), PYCNN_CUDA=AUTO|ON|OFF, PYCNN_CMAKE_ARGS (passed on).
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


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


def check_cuda_choice() -> None:
    """PYCNN_CUDA=AUTO|ON|OFF. There is nothing to build with nvcc yet, so AUTO and OFF mean the same."""
    choice = os.environ.get("PYCNN_CUDA", "AUTO").upper()
    if choice not in ("AUTO", "ON", "OFF"):
        raise SystemExit(f"PYCNN_CUDA={choice}: expected AUTO, ON or OFF")
    if choice == "ON":
        raise SystemExit("PYCNN_CUDA=ON: there are no CUDA kernels yet; AUTO and OFF build for CPU")


class CMakeBuild(build_ext):
    """Configures when the arguments changed, then lets ninja decide what is out of date."""

    def run(self) -> None:
        check_cuda_choice()
        torch = torch_dir()
        cmake, ninja = find_program("cmake"), find_program("ninja")
        pybind11 = importlib.util.find_spec("pybind11")
        needed = {"cmake": cmake, "ninja": ninja, "pybind11": pybind11}
        missing = [name for name, found in needed.items() if found is None]
        if missing:
            raise SystemExit(
                f"pycnn's build needs {' '.join(missing)}: pip install {' '.join(missing)}, "
                "then run pip install --no-build-isolation . again"
            )
        target = Path(self.get_ext_fullpath("pycnn._C")).resolve().parent
        target.mkdir(parents=True, exist_ok=True)
        build = ROOT / "build" / sys.implementation.cache_tag
        configure = [
            cmake,
            *("-S", str(ROOT), "-B", str(build), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={ninja}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={Path(pybind11.origin).parent / 'share' / 'cmake' / 'pybind11'}",
            f"-DPYCNN_TORCH_DIR={torch}",
            *shlex.split(os.environ.get("PYCNN_CMAKE_ARGS", "")),
        ]
        self.configure(configure, build)
        subprocess.run([cmake, "--build", str(build), "-j", str(jobs())], check=True)

    def configure(self, command: list[str], build: Path) -> None:
        """Runs CMake unless the last run in this folder had the same arguments and succeeded."""
        record = build / "configured_with.txt"
        text = "\n".join(command)
        if record.exists() and record.read_text() == text and (build / "build.ninja").exists():
            return
        record.unlink(missing_ok=True)
        subprocess.run(command, check=True)
        record.write_text(text)


setup(ext_modules=[Extension("pycnn._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
