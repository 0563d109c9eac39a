"""`optimize(tune=True)` and the table of measured kernels."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import settle
from torch import nn

import pycnn
from pycnn import _C
from pycnn.inspection import graphs_of
from pycnn.planning import tune, tuned
from pycnn.planning.cpu import CpuTarget
from pycnn.planning.segments import Segment
from pycnn.planning.tuned import Table, problem
from pycnn.processor import cpu_name

ISA = _C.machine()["isa"]
HERE = f"{cpu_name()}, {ISA}"
IGEMM, PATCH = f"conv2d_igemm_f32_{ISA}", f"conv2d_patch_f32_{ISA}"


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYCNN_TUNED", str(tmp_path / "folder" / "tuned.json"))
    monkeypatch.setattr(tune, "_SECONDS", 0.0)
    return tmp_path / "folder" / "tuned.json"


def net() -> nn.Module:
    layers = [
        nn.Conv2d(16, 16, 1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.Conv2d(24, 16, 1),
    ]
    return settle(nn.Sequential(*layers)).eval()


def kernels(fast: nn.Module, x: torch.Tensor) -> list[str]:
    return [step.kernel for step in pycnn.explain(fast, x).steps]


def images(n: int = 1) -> torch.Tensor:
    return torch.randn(n, 16, 20, 20).to(memory_format=torch.channels_last)


def keys(fast: nn.Module, x: torch.Tensor) -> list[str]:
    """The problems of the plan's convolutions."""
    (graph,) = graphs_of(fast)
    now = graph.program.at([x])
    (segment,) = now.items
    assert isinstance(segment, Segment)
    lowered = graph.program.planner.lowered(segment, [x], now)
    return [
        problem(s.op, s.params, lowered.target.threads) for s in lowered.steps if s.op == "conv2d"
    ]


def write(path: Path, entries: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, "processors": {HERE: entries}}))
    tuned._tables.clear()  # as another process


def test_the_table_is_written_and_used_without_measuring(path: Path) -> None:
    model, x = net(), images()
    with torch.inference_mode():
        fast = pycnn.optimize(model, tune=True)
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
        assert set(keys(fast, x)) <= set(json.loads(path.read_text())["processors"][HERE])
        for key in keys(fast, x):
            choice = Table.read(path).find(HERE, key)
            assert choice is not None and {IGEMM, PATCH} <= set(choice.microseconds)
        tuned._tables.clear()
        assert kernels(pycnn.optimize(model), x) == kernels(fast, x)


def test_a_table_decides_and_the_rule_where_it_cannot(path: Path) -> None:
    model, x = net(), images()
    with torch.inference_mode():
        plain = pycnn.optimize(model)
        expected = plain(x)
        first, _, last = keys(plain, x)
        assert kernels(plain, x)[0] == IGEMM
        unknown = {"kernel": "conv2d_fastest", "microseconds": {"conv2d_fastest": 1.0}}
        write(path, {first: {"kernel": PATCH, "microseconds": {PATCH: 1.5}}, last: unknown})
        fast = pycnn.optimize(model)
        torch.testing.assert_close(fast(x), expected, rtol=1e-5, atol=1e-5)
        assert kernels(fast, x)[0] == PATCH
        assert kernels(fast, x)[1:] == kernels(plain, x)[1:]
        two = images(2)  # another problem
        fast(two)
        assert kernels(fast, two)[0] == IGEMM
        still = pycnn.optimize(model, batch_invariant=True)
        still(x)
        assert kernels(still, x)[0] == IGEMM


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[]", 'expected "format": 1'),
        ('{"format": 2}', 'expected "format": 1'),
        ('{"format": 1, "processors": 3}', '"processors" is no object'),
        ('{"format": 1, "processors": {"a": []}}', "'a': expected an object"),
        (
            '{"format": 1, "processors": {"a": {"b": {"kernel": "k", "microseconds": {"k": -1}}}}}',
            "'b'",
        ),
        (
            '{"format": 1, "processors": {"a": {"b": {"kernel": "j", "microseconds": {"k": 1}}}}}',
            "'b'",
        ),
    ],
)
def test_a_damaged_table_is_said_and_not_used(
    path: Path, text: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match="is no table of measured kernels") as caught:
        Table.read(path)
    assert why in str(caught.value)
    with torch.inference_mode(), caplog.at_level(logging.WARNING, logger="pycnn.tuned"):
        x = images()
        fast = pycnn.optimize(net())
        fast(x)
        assert kernels(fast, x)[0] == IGEMM
    assert len([r for r in caplog.records if why in r.getMessage()]) == 1


def test_an_interruption_leaves_the_file_and_the_model_as_they_were(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    model, x = net(), images()
    with torch.inference_mode():
        fast = pycnn.optimize(model, tune=True)
        with monkeypatch.context() as patch:
            patch.setattr(tune, "_measure", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fast(x)
        assert not path.exists()
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
        assert path.exists()


def test_a_folder_that_cannot_be_written_is_said_and_the_choices_hold(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder would be")
    model, x = net(), images()
    with torch.inference_mode(), caplog.at_level(logging.WARNING, logger="pycnn.tuned"):
        fast = pycnn.optimize(model, tune=True)
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
        assert tuned.shared_table().find(HERE, keys(fast, x)[0]) is not None
    assert [r for r in caplog.records if "are not kept" in r.getMessage()]


def test_each_size_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = tune._measure

    def counted(*args: Any) -> None:
        calls.append(1)
        real(*args)

    monkeypatch.setattr(tune, "_measure", counted)
    fast = pycnn.optimize(net(), tune=True)
    with torch.inference_mode():
        for n, measured in ((1, 1), (1, 1), (3, 2), (1, 2), (3, 2)):
            fast(images(n))
            assert len(calls) == measured
        pycnn.optimize(net(), tune=True)(images())  # its problems are in the table
    assert len(calls) == 2


def test_exact_keeps_winograd_out(path: Path) -> None:
    model, x = (
        settle(nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))).eval(),
        torch.randn(1, 32, 28, 28),
    )
    with torch.inference_mode():
        pycnn.optimize(model, exact=True, tune=True)(x)
        assert "winograd" not in path.read_text()
        pycnn.optimize(model, tune=True)(x)
        assert "winograd" in path.read_text()


def test_choices_within_noise_are_the_rules() -> None:
    table = Table()
    assert table.add("p", "k", {"a": 100.0, "b": 98.0}, "a").kernel == "a"
    assert table.add("p", "k", {"a": 100.0, "b": 90.0}, "a").kernel == "b"
    assert table.add("p", "k", {"b": 90.0}, "a").kernel == "b"


def test_saving_keeps_what_others_wrote(path: Path) -> None:
    mine, other = Table(path), Table(path)
    mine.add("p", "mine", {"a": 1.0}, "a")
    other.add("p", "other", {"b": 2.0}, "b")
    mine.save()
    other.save()
    both = Table.read(path)
    assert both.find("p", "mine") and both.find("p", "other") and not both.find("q", "mine")


def test_candidates_are_those_that_take_the_problem() -> None:
    params: dict[str, float] = {
        "c": 8,
        "k": 8,
        "h": 9,
        "w": 9,
        "oh": 9,
        "ow": 9,
        "ldx": 8,
        "ldy": 8,
    }
    able = CpuTarget().candidates("conv2d", params)
    assert able[0] == CpuTarget().rule("conv2d", params) and {IGEMM, PATCH} <= set(able)
    assert all(name.endswith(ISA) for name in able) and len(set(able)) == len(able)


def test_arguments_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="tune=True .* batch_invariant=True forbids"):
        pycnn.optimize(net(), tune=True, batch_invariant=True)
    wrong: Any = 3
    with pytest.raises(TypeError, match="tune must be a bool, got 3"):
        pycnn.optimize(net(), tune=wrong)


def test_a_user_without_a_home_has_a_table_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PYCNN_TUNED")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert tuned.shared_table().path is None
    with torch.inference_mode():
        pycnn.optimize(net(), tune=True)(images())


def test_every_size_is_a_problem_of_its_own() -> None:
    params = {"n": 1, "h": 1, "w": 10_000_001, "act_param": 0.1}
    assert problem("conv2d", params, 2) != problem("conv2d", {**params, "w": 10_000_002}, 2)
    assert problem("conv2d", params, 2) != problem("conv2d", {**params, "act_param": 0.1000001}, 2)
