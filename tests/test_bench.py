"""`python -m bench`: records to tables, pictures and comparisons; layers really measured once. No time is asserted."""

import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench import __main__ as command
from bench import compare, coverage, layers, plots, report, run, shapes
from bench.shapes import Layer
from pycnn.limits import Limits
from pycnn.timing import Failure, Record, Timing, Workload
from pycnn.timing.record import flops_per_image
from pycnn.timing.table import best_rival, rich_table, speedup

ROOF = Limits(
    threads=2, isa="avx2", fma_flops=100e9, fma_1_flops=50e9,
    l2_bytes_s=80e9, l3_bytes_s=40e9, dram_bytes_s=10e9,
    l2_copy_bytes_s=60e9, l3_copy_bytes_s=30e9, dram_copy_bytes_s=9e9,
    l2_size_bytes=1 << 20, l3_size_bytes=32 << 20,
)  # fmt: skip
ONE, EIGHT = Workload("resnet18", 1), Workload("resnet18", 8)
ROW = {
    "network": "resnet18", "name": "conv1", "op": "conv2d", "times": 2, "batch": 1, "size": "9x9 8 -> 8 3x3",
    "kernel": "conv2d_igemm", "min_s": 2e-3, "p20_s": 3e-3, "flops": 10**8, "bytes": 10**5, "error": 1e-7,
}  # fmt: skip


def timing(workload, engine, p20, **more):
    return Timing(workload, engine, 0.9 * p20, p20, 1.1 * p20, 100, 1e-7, **more)


@pytest.fixture
def record():
    timings = (
        timing(ONE, "torch NHWC", 0.030, second_shape_s=0.004),
        timing(ONE, "OpenVINO", 0.020, build_s=2.0, first_call_s=0.522),
        timing(ONE, "OpenVINO throughput", 0.008, requests=2),
        timing(ONE, "pycnn", 0.010, second_shape_s=0.005, peak_bytes=100 << 20),
        timing(EIGHT, "torch NHWC", 0.3),
        timing(EIGHT, "pycnn exact", 0.15),
        timing(EIGHT, "pycnn", 0.1),
    )
    failure = Failure(EIGHT, "OpenVINO", "resnet18, batch 8: OpenVINO: RuntimeError: no")
    versions = {"pycnn": "0.1", "torch": "2.13"}
    return Record(
        "2026-01-02T03:04:05+00:00", "A processor", 2, versions, ROOF, 4, 0.5, timings, (failure,),
        {"resnet18": 3 * 10**8}, (ROW,),
    )  # fmt: skip


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_best_rival_answers_one_call_at_a_time(record):
    assert best_rival(record.timings, ONE).engine == "OpenVINO"
    assert speedup(record.timings, ONE) == pytest.approx(2.0)
    assert speedup(record.timings, EIGHT) == pytest.approx(3.0)
    assert speedup(record.timings, EIGHT, "pycnn exact") == pytest.approx(2.0)
    assert speedup(record.timings[:1], ONE) is None
    assert rich_table(record).row_count == 7
    narrow = rich_table(record, wide=False)
    console = Console(width=80)
    with console.capture() as shown:
        console.print(narrow)
    assert all(len(line) <= 80 for line in shown.get().splitlines())
    assert "OpenVINO throughput (2" in shown.get() and "…" not in shown.get()


def test_the_table_of_networks_has_every_engine_ratio_share_and_failure(record):
    head, _, one, eight, *rest = report.networks(record).splitlines()
    engines = ["torch NHWC", "OpenVINO", "OpenVINO throughput", "pycnn exact", "pycnn"]
    assert cells(head)[1:-3] == engines
    # 0.3 GFLOP in 10 ms is 30 % of 100 GFLOP/s; eight images in 100 ms are 24 %
    assert cells(one)[1:] == ["30.0", "20.0", "8", "-", "10.0", "2.00× OpenVINO", "30", "1.0e-07"]
    assert cells(eight)[1:] == ["300", "-", "-", "150", "100", "3.00× torch NHWC", "24", "1.0e-07"]
    assert rest[-1] == "- resnet18, batch 8: OpenVINO: RuntimeError: no"


def test_the_other_tables(record):
    setup = [cells(line) for line in report.setup(record).splitlines()]
    assert setup[3] == ["resnet18 1", "OpenVINO", "2.50", "built for one", "0"]
    assert setup[5] == ["resnet18 1", "pycnn", "0.00", "5", "100"]
    assert "| L2, GB/s read / read + written | 80 / 60 |" in report.machine(record)
    assert "OpenVINO throughput" not in report.summary(record)
    (layer,) = [cells(line) for line in report.layers(record).splitlines()[2:]]
    assert layer[-5:] == ["2000.0", "50", "50", "multiply", "1.0e-07"]


def test_a_layer_is_held_against_the_binding_limit():
    assert layers.of_roof(ROW, ROOF) == (pytest.approx(0.5), "multiply")
    share, bound = layers.of_roof({**ROW, "flops": 1000, "bytes": 8 * 10**5, "min_s": 2e-5}, ROOF)
    assert (share, bound) == (pytest.approx(0.5), "memory")
    assert layers.size(Layer("a", 1, "conv2d", 7, 7, 8, 8, 3, 3, 2, 2, groups=8)) == (
        "7x7 8 -> 8 3x3, stride 2, depthwise"
    )


def test_sections_are_regenerated_in_place_and_only_they(record, tmp_path):
    text = "before\n<!-- bench:networks -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:layers -->\n<!-- /bench -->\n"
    once = report.regenerate(text, record)
    assert once.startswith("before\n<!-- bench:networks -->\n| network, batch |")
    assert "\n<!-- /bench -->\nbetween\n<!-- bench:layers -->\n| network, batch | layer |" in once
    assert "old" not in once
    assert report.regenerate(once, record) == once
    without = report.regenerate(text, replace(record, layers=()))
    assert without.endswith("between\n<!-- bench:layers -->\n<!-- /bench -->\n")
    path = tmp_path / "README.md"
    path.write_text(text)
    assert report.write_documents(record, [path]) == [path]
    assert path.read_text() == once and report.write_documents(record, [path]) == []
    path.write_text("<!-- bench:tables -->\n<!-- /bench -->\n")
    with pytest.raises(
        ValueError, match=r"README.md: no section 'tables'; one of summary, machine"
    ):
        report.write_documents(record, [path])


def test_the_documents_have_the_sections():
    found = [re.findall(r"<!-- bench:(\w+) -->", p.read_text()) for p in report.DOCUMENTS]
    assert found == [["summary"], ["machine", "networks", "bf16", "setup", "layers"]]


def test_pictures_are_drawn_for_what_the_record_has(record, tmp_path):
    drawn = plots.draw(record, tmp_path / "new")
    assert [p.name for p in drawn] == ["networks.png", "roofline.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for p in drawn)
    assert all(p.read_bytes()[:5] == b"<?xml" for p in plots.draw(record, tmp_path, "svg"))
    assert plots.draw(replace(record, layers=(), timings=()), tmp_path) == []


def test_compare_flags_what_changed_by_more_than_the_factor(record):
    slower = [replace(t, p20_s=t.p20_s * 1.2) if t.engine == "pycnn" else t for t in record.timings]
    other = replace(record, timings=tuple(slower), layers=({**ROW, "p20_s": 3e-3 / 1.3},))
    found = compare.changes(record, other)
    assert [(c.name, round(c.ratio, 3)) for c in found] == [
        ("resnet18 1, pycnn", 1.2),
        ("resnet18 8, pycnn", 1.2),
        ("resnet18 1, layer conv1", 0.769),
    ]
    assert compare.changes(record, other, above=1.25)[0].name == "resnet18 1, layer conv1"
    assert compare.changes(record, record) == compare.differences(record, record) == []
    with pytest.raises(ValueError, match="above=1 must be over 1"):
        compare.changes(record, other, above=1)
    moved = replace(record, cpu="Another", limits=replace(ROOF, fma_flops=200e9), layers=())
    assert compare.differences(record, moved) == [
        "cpu: A processor and Another",
        "multiply rate: the new machine's is 2.00x the old's",
        "1 figures are in one record only",
    ]


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
    monkeypatch.setattr(report.write_documents, "__defaults__", ((document,),))
    assert command.main(["report", str(old), "--plots", str(tmp_path / "plots")]) == 0
    assert "| resnet18 1 |" in document.read_text()
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    capsys.readouterr()
    for arguments in (
        ["report", str(tmp_path / "none.json")],
        ["run", "resnet19"],
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
    assert total == flops_per_image("lenet_like")
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
    assert "failed: RuntimeError: Unknown model" in text
    assert command.main(["coverage", "resnet1?", "--processes", "1", "--most", "12"]) == 0
    assert capsys.readouterr().out.startswith("resnet18: ")
    assert command.main(["coverage", "no_such_network"]) == 1
