"""The examples do what they say, offline, and write a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def run(name, folder, *arguments):
    """What the example prints; one thread, so that a busy machine only slows it in proportion."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    found = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


def numbers(text, pattern):
    return [float(value) for value in re.search(pattern, text).groups()]


@pytest.mark.slow
def test_classify(tmp_path):
    said = run("classify", tmp_path)
    (share,) = numbers(said, r"trained: ([\d.]+)%")
    assert share > 95
    assert Image.open(tmp_path / "digit.png").size == (28, 28)
    assert min(Image.open(tmp_path / "classified.png").size) > 300


@pytest.mark.slow
def test_segment(tmp_path):
    said = run("segment", tmp_path)
    (overlap,) = numbers(said, r"new scenes: ([\d.]+)")
    assert overlap > 0.4
    assert min(Image.open(tmp_path / "segmented.png").size) > 300


@pytest.mark.slow
def test_denoise(tmp_path):
    said = run("denoise", tmp_path)
    noisy, denoised = numbers(said, r"noisy ([\d.]+) dB, denoised ([\d.]+) dB")
    assert denoised > noisy + 4
    assert Image.open(tmp_path / "denoised.png").size == (3 * 640, 427)


@pytest.mark.slow
def test_sample_digits(tmp_path):
    said = run("sample_digits", tmp_path)
    pattern = r"sampled ([\d.]+), written but unseen ([\d.]+), noise ([\d.]+)"
    sampled, unseen, noise = numbers(said, pattern)
    assert sampled < 2 * unseen < noise
    assert Image.open(tmp_path / "sampled.png").size == (800, 200)
