"""`python -m bench`: its sets and commands; layers really measured once. No time is asserted."""

import re
from dataclasses import replace

import pytest
from bench_records import EIGHT, ONE, ROOF, ROW, make_record, timing

from bench import __main__ as command
from bench import coverage, layers, report, run, sets, shapes
from bench.shapes import Layer
from pycnn.timing import Record, Workload
from pycnn.timing.networks import check_networks, flops_per_image


@pytest.fixture
def record():
    return make_record()


def test_the_sets_are_of_networks_that_take_their_images():
    main, outside = (sets.chosen([], name) for name in ("main", "outside"))
    assert sets.chosen([], None) == main and sets.chosen(["resnet18:8"], None) == [EIGHT]
    assert len(set(main)) == 28 and {w.batch for w in main} == {1, 8}
    assert sorted({w.model for w in main}) == sorted(shapes.NETWORKS)
    assert len(set(outside)) == 15 and {w.batch for w in outside} == {1}
    assert not {w.network for w in main} & {w.network for w in outside}
    check_networks([*main, *outside])
    with pytest.raises(ValueError, match="give workloads or --set outside, not both"):
        sets.chosen(["resnet18"], "outside")


def test_a_layer_is_held_against_the_binding_limit():
    assert layers.of_roof(ROW, ROOF) == (pytest.approx(0.5), "multiply")
    share, bound = layers.of_roof({**ROW, "flops": 1000, "bytes": 8 * 10**5, "min_s": 2e-5}, ROOF)
    assert (share, bound) == (pytest.approx(0.5), "memory")
    assert layers.size(Layer("a", 1, "conv2d", 7, 7, 8, 8, 3, 3, 2, 2, groups=8)) == (
        "7x7 8 -> 8 3x3, stride 2, depthwise"
    )


def test_the_commands_exit_status_and_sentences(record, tmp_path, capsys, monkeypatch):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    record.save(old)
    slow = tuple(replace(t, p20_s=2 * t.p20_s) for t in record.timings)
    replace(record, timings=slow).save(new)
    assert command.main(["compare", str(old), str(old)]) == 0
    assert command.main(["compare", str(old), str(new)]) == 1
    assert "slower 2.00x: resnet18 1, pycnn: 10.000 -> 20.000 ms" in capsys.readouterr().out
    assert command.main(["compare", str(new), str(old)]) == 0  # faster is no failure
    document = tmp_path / "README.md"
    document.write_text("<!-- bench:summary -->\n<!-- /bench -->\n")
    chosen = ["--documents", str(document)]
    plots = ["--plots", str(tmp_path / "plots")]
    assert command.main(["report", str(old), *chosen, *plots]) == 0
    assert "| resnet18 | 20.0 OpenVINO |" in document.read_text()
    bf16 = replace(record, timings=(timing(ONE, "pycnn bf16", 0.004),), layers=(), failures=())
    bf16.save(new)
    document.write_text("<!-- bench:bf16 -->\n<!-- /bench -->\n")
    monkeypatch.setattr(report, "DOCUMENTS", (document,))
    assert command.main(["report", str(old), str(new)]) == 0
    assert "| resnet18 | 4.00 |  | 2.50× |" in document.read_text()
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    capsys.readouterr()
    for arguments in (
        ["report", str(tmp_path / "none.json")],
        ["report", str(old), str(old)],
        ["run", "resnet19"],
        ["run", "lenet_like:1:28x"],
        ["run", "lenet_like", "--set", "outside"],
        ["run", "torchvision/resnet19"],
        ["never_slower", "small_cnn", "resnet19"],
        ["calls", "small_cnn", "lenet_like:1:40"],
        ["run", "lenet_like", "--engines", "tvm"],
        ["layers", "resnet19"],
        ["run", "lenet_like", "--layers", "resnet19"],
    ):
        assert command.main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("bench: ") and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.glob("results/*.json"))


def test_layers_are_measured_and_exact(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(layers, "SECONDS", 0.0)
    path = tmp_path / "layers.json"
    assert command.main(["layers", "lenet_like", "--threads", "1", "--json", str(path)]) == 0
    found = Record.load(path)
    rows = shapes.read(shapes.FOLDER / "lenet_like.txt")
    assert [row["name"] for row in found.layers] == [layer.name for layer in rows]
    assert all(0 < row["error"] < 1e-5 and 0 < row["min_s"] <= row["p20_s"] for row in found.layers)
    total = sum(row["flops"] * row["times"] for row in found.layers)
    assert total == flops_per_image(Workload("lenet_like", 1))
    assert "| lenet_like 1 | features.0 |" in capsys.readouterr().out


def test_run_writes_a_record_and_says_a_disturbed_machine(record, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.json"
    asked = {}

    def networks(workloads, settings, where):
        asked.update(workloads=workloads, settings=settings, path=where)
        return replace(record, layers=(), failures=())

    monkeypatch.setattr(command, "measure_shown", networks)
    arguments = ["run", "resnet18:8", "--engines", "pycnn", "--layers", "--json", str(path)]
    assert command.main(arguments) == 0
    assert asked["workloads"] == [EIGHT] and asked["settings"].engines == ["pycnn"]
    assert asked["path"] == path
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "check_names", lambda *_: None)
    monkeypatch.setattr(run, "run_layers", lambda names, *_: pytest.fail(f"asked for {names}"))
    assert command.main(["run", "--set", "outside", "--engines", "pycnn"]) == 0
    assert asked["workloads"] == sets.chosen([], "outside")
    assert asked["path"].name.endswith("-outside.json")
    assert command.main(["run", "--engines", "pycnn-bf16"]) == 0  # its layers are of fp32
    busy = replace(record.timings[0], stalls=50)
    monkeypatch.setattr(
        command, "measure_shown", lambda *_: replace(record, timings=(busy, *record.timings[1:]))
    )
    capsys.readouterr()
    assert command.main(arguments) == 1
    said = capsys.readouterr().err
    assert "failed: resnet18, batch 8: OpenVINO" in said
    assert "disturbed: resnet18, batch 1, torch NHWC: 50 of 100 calls" in said
    assert said.endswith("the machine was not quiet: run it again\n")


def test_the_default_file_is_named_after_processor_and_day(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path / "cpu")
    path = run.default_path()
    assert path.parent.is_dir() and re.fullmatch(r"[a-z0-9-]+-\d{4}-\d\d-\d\d\.json", path.name)
    path.touch()
    assert run.default_path("main").name == f"{path.stem}-2.json"  # a record is never written over
    assert run.default_path("outside").name == f"{path.stem}-outside.json"


def test_coverage_tells_what_fell_back_and_what_failed(tmp_path, capsys):
    found = [
        coverage.try_network(coverage.Network("timm", name), most=30)
        for name in ("mobilenetv3_small_050", "efficientnet_cc_b0_4e", "no_such_network")
    ]
    whole, gated, missing = found
    assert whole.agrees and whole.whole and whole.steps > 20 and not whole.torch_ops
    assert gated.agrees and "conv2d" in gated.torch_ops and "matmul" not in gated.torch_ops
    assert not missing.agrees and "no_such_network" in missing.failure
    assert coverage.try_network(coverage.Network("torchvision", "alexnet"), most=30) is None
    text = coverage.write(found, 30, tmp_path / "coverage.md").read_text()
    assert "**3 networks: 2 agree" in text and "| `conv2d` | 1 | 8 |" in text
    assert "failed: ValueError: unknown network 'no_such_network' of timm" in text
    assert command.main(["coverage", "resnet1?", "--processes", "1", "--most", "12"]) == 0
    assert capsys.readouterr().out.startswith("resnet18: ")
    assert command.main(["coverage", "no_such_network"]) == 1


def test_ops_of_coverage_come_by_how_many_networks_have_them_then_by_name():
    ops = tuple("zyxwvutsrqponmlkjihgfedcba")
    named = coverage.Network("timm", "some")
    page = coverage.page(
        [coverage.Row(named, 1, 40, (*ops, "z")), coverage.Row(named, 1, 1, ("q",))], 30
    )
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == ["q", "z", *(op for op in sorted(ops) if op not in "qz")]
