"""The arrows of the tree point down: Python imports, C++ includes, and symbols of kernel objects."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_includes  # noqa: E402


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter in a process of its own, reading `folder`'s pycnn and pyproject.toml."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_python_imports_point_down() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pycnn", tmp_path / "pycnn", ignore=shutil.ignore_patterns("*.so"))
    with (tmp_path / "pycnn/ops/__init__.py").open("a") as file:
        file.write("\nimport pycnn.models\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "pycnn.ops is not allowed to import pycnn.models" in result.stdout


def names_taken_from_the_root(source: str) -> set[str]:
    """What a module imports from pycnn/__init__.py itself: {"pycnn"} for `import pycnn`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name == "pycnn"}
        elif isinstance(node, ast.ImportFrom) and node.module == "pycnn":
            names |= {alias.name for alias in node.names}
    modules = {path.stem for path in (ROOT / "pycnn").iterdir()}
    return names - modules | names & {"pycnn"}


def test_modules_take_only_the_extension_from_the_root() -> None:
    assert names_taken_from_the_root("import pycnn") == {"pycnn"}
    assert names_taken_from_the_root("from pycnn import optimised, _C, ops") == {"optimised"}
    for path in (ROOT / "pycnn").rglob("*.py"):
        if path != ROOT / "pycnn/__init__.py":
            assert names_taken_from_the_root(path.read_text()) <= {"_C"}, path


def test_includes_point_down() -> None:
    assert list(check_includes.violations(ROOT / "csrc")) == []


@pytest.mark.parametrize(
    ("file", "include", "reason"),
    [
        ("base/act.h", '"ops/conv2d/conv2d.h"', "base/ is below ops/"),
        ("ops/conv2d/direct.cpp", '"ops/linear/linear.h"', "ops never include each other"),
        ("ops/conv2d/direct.cpp", '"runtime/plan.h"', "ops/ is below runtime/"),
        ("ops/conv2d/direct.cpp", "<torch/csrc/stable/tensor.h>", "may see torch"),
        ("runtime/bind.cpp", "<torch/extension.h>", "may see torch"),
        ("ops/conv2d/direct.cpp", '"ops/door.h"', "may see torch"),
        ("runtime/plan.cpp", "<pybind11/pybind11.h>", "may see Python"),
        ("ops/door.h", '"ops/conv2d/conv2d.h"', "ops never include each other"),
        ("runtime/plan.cpp", '"base/missing.h"', "no such file"),
        ("runtime/plan.cpp", '"../base/act.h"', "write the path from csrc/"),
    ],
)
def test_an_include_that_breaks_the_rule_is_found(
    tmp_path: Path, file: str, include: str, reason: str
) -> None:
    for name in ("base/act.h", "ops/conv2d/conv2d.h", "ops/linear/linear.h", "runtime/plan.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#pragma once\n")
    (tmp_path / "ops/door.h").write_text("#include <torch/csrc/stable/tensor.h>\n")
    (tmp_path / "ops/conv2d/op.cpp").write_text('#include "ops/door.h"\n#include "base/act.h"\n')
    (tmp_path / "runtime/bind.cpp").write_text(
        '#include <pybind11/pybind11.h>\n#include "runtime/plan.h"\n#include "ops/conv2d/conv2d.h"\n'
    )
    assert list(check_includes.violations(tmp_path)) == []

    with (tmp_path / file).open("a") as opened:
        opened.write(f"#  include {include}\n")
    (line,) = check_includes.violations(tmp_path)
    assert line.startswith(f"{file}: ")
    assert reason in line
    assert check_includes.main([str(tmp_path)]) == 1


def kernel_objects() -> dict[str, list[Path]]:
    """Objects compiled for one instruction set, by set: build/<python>/CMakeFiles/kernels_<set>.dir."""
    objects: dict[str, list[Path]] = {}
    for folder in ROOT.glob(f"build/{sys.implementation.cache_tag}/CMakeFiles/kernels_*.dir"):
        isa = folder.name.removeprefix("kernels_").removesuffix(".dir")
        objects[isa] = sorted(folder.rglob("*.o"))
    return objects


def foreign_weak_symbols(objects: list[Path], isa: str) -> list[str]:
    """Weak definitions that are not pycnn's own for this set: the linker may hand such a function,
    compiled with this set's instructions, to code that runs on every machine."""
    listing = subprocess.run(
        ["nm", "--defined-only", "--demangle", *map(str, objects)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    weak = re.findall(r"^[0-9a-f]+ [WwVvu] (.+)$", listing, re.MULTILINE)
    return [symbol for symbol in weak if f"pycnn::isa_{isa}::" not in symbol]


def test_kernel_objects_share_no_code_between_instruction_sets() -> None:
    objects = kernel_objects()
    assert "baseline" in objects
    assert len(objects) >= 2
    for isa, files in objects.items():
        assert files, isa
        assert foreign_weak_symbols(files, isa) == [], isa


def test_a_shared_weak_symbol_is_found(tmp_path: Path) -> None:
    source = tmp_path / "leak.cpp"
    source.write_text("inline int leak() { return 1; }\nint (*user)() = leak;\n")
    subprocess.run(["g++", "-c", source.name], cwd=tmp_path, check=True)
    assert foreign_weak_symbols([tmp_path / "leak.o"], "avx512") == ["leak()"]
