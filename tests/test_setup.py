"""setup.py's choice of building the CUDA kernels."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pycnn_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torch_of(folder: Path, cuda: str) -> Path:
    (folder / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\n")
    return folder


def nvcc_of(folder: Path, release: str) -> str:
    program = folder / "nvcc"
    program.write_text(
        f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n"
    )
    program.chmod(0o755)
    return str(program)


def test_auto_builds_where_torch_is_for_cuda_and_nvcc_is_new_enough(
    setup, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("PYCNN_CUDA", raising=False)
    monkeypatch.setenv("CUDACXX", nvcc_of(tmp_path, "13.0"))
    assert not setup.with_cuda(torch_of(tmp_path, "None"))
    assert setup.with_cuda(torch_of(tmp_path, "'13.0'"))
    monkeypatch.setenv("CUDACXX", nvcc_of(tmp_path, "12.3"))
    assert not setup.with_cuda(torch_of(tmp_path, "'13.0'"))
    assert "they need nvcc 12.4 or later" in capsys.readouterr().out


def test_on_and_off_are_obeyed_and_errors_are_one_sentence(setup, tmp_path, monkeypatch) -> None:
    torch = torch_of(tmp_path, "None")
    monkeypatch.setenv("CUDACXX", nvcc_of(tmp_path, "12.4"))
    for choice, wanted in (("ON", True), ("off", False)):
        monkeypatch.setenv("PYCNN_CUDA", choice)
        assert setup.with_cuda(torch) == wanted
    monkeypatch.setenv("PYCNN_CUDA", "ON")
    monkeypatch.setenv("CUDACXX", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match=r"needs nvcc 12\.4 or later, and .*none is another"):
        setup.with_cuda(torch)
    monkeypatch.setenv("PYCNN_CUDA", "MAYBE")
    with pytest.raises(SystemExit, match="PYCNN_CUDA=MAYBE: expected AUTO, ON or OFF"):
        setup.with_cuda(torch)


def test_cmake_is_told(setup, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYCNN_CUDA_ARCHS", "90")
    command = setup.configure_command(tmp_path, tmp_path, tmp_path, cuda=True)
    assert "-DPYCNN_CUDA=ON" in command and "-DPYCNN_CUDA_ARCHS=90" in command
