"""Records of `python -m bench` to tables, pictures and comparisons."""

import re
from dataclasses import replace

import pytest
from bench_records import EIGHT, ONE, ROOF, ROW, cells, make_record, timing
from rich.console import Console

from bench import compare, merge, plots, report, sets, tables
from pycnn.timing import Workload
from pycnn.timing.table import best_rival, rich_table, speedup


@pytest.fixture
def record():
    return make_record()


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
    lines = tables.networks(record).splitlines()
    assert lines[0] == "Batch 1:" and lines[6] == "Batch 8:"
    engines = ["torch NHWC", "OpenVINO", "OpenVINO throughput", "pycnn exact", "pycnn"]
    assert cells(lines[2])[1:-3] == cells(lines[8])[1:-3] == engines
    # 0.3 GFLOP in 10 ms is 30 % of 100 GFLOP/s; eight images in 100 ms are 24 %
    assert cells(lines[4]) == [
        "resnet18", "30.0", "20.0", "8.00", "-", "10.0", "2.00× OpenVINO", "30", "1.0e-07"
    ]  # fmt: skip
    assert cells(lines[10]) == [
        "resnet18", "300", "-", "-", "150", "100", "3.00× torch NHWC", "24", "1.0e-07"
    ]  # fmt: skip
    assert lines[12].startswith(
        "Geometric mean against the best: 2.00× at batch 1 (1 network), 3.00×"
    )
    assert lines[-1] == "- resnet18, batch 8: OpenVINO: RuntimeError: no"


def test_the_mean_is_geometric_over_each_batch_size_and_names_what_is_below(record):
    sized = Workload("unet", 1, (64, 64))
    level = (timing(sized, "OpenVINO", 0.01), timing(sized, "pycnn", 0.02))
    alone = timing(Workload("vgg16", 1), "pycnn", 1.0)
    more = replace(record, timings=(*record.timings, *level, alone))
    assert tables.means(more, "pycnn") == (
        "Geometric mean against the best: 1.00× at batch 1 (2 networks), 3.00× at batch 8 (1 network). "
        "Below 1.1×: 1 of 3: unet 1 at 64² (0.500×)."
    )
    assert tables.means(record, "pycnn").endswith("Below 1.1×: 0 of 2.")
    assert tables.means(record, "pycnn", 2.5).endswith("Below 2.5×: 1 of 2: resnet18 1 (2.000×).")
    assert tables.means(record, "pycnn bf16") == ""
    bf16 = (timing(ONE, "torch bf16", 0.03), timing(ONE, "pycnn bf16", 0.02))
    both = replace(record, timings=(*record.timings, *bf16))
    assert "1.50× at batch 1 (1 network). Below" in tables.bf16(both)
    assert tables.means(both, "pycnn").startswith("Geometric mean against the best: 2.00×")


def test_the_readme_has_a_line_a_network_and_names_the_best_other_engine(record):
    small = timing(Workload("small_cnn", 1), "pycnn", 1e-3)
    more = replace(record, timings=(*record.timings, small))
    lines = tables.summary(more).splitlines()
    assert cells(lines[4]) == [
        "resnet18", "20.0 OpenVINO", "10.0", "2.00×", "300 torch NHWC", "100", "3.00×"
    ]  # fmt: skip
    assert cells(lines[5]) == ["small_cnn", "-", "1.00", "-", "-", "-", "-"]


def test_the_other_tables(record):
    head, _, one, eight = [cells(line) for line in tables.setup(record).splitlines()]
    assert head[1:] == [
        "setup s: OpenVINO", "setup s: pycnn", "peak MiB: OpenVINO", "peak MiB: pycnn", "second shape ms: pycnn"
    ]  # fmt: skip
    assert one == ["resnet18 1", "2.50", "0.00", "0", "100", "5.00"]
    assert eight == ["resnet18 8", "-", "0.00", "-", "0", "-"]
    assert "| L2, GB/s read / read + written | 80 / 60 |" in tables.machine(record)
    (layer,) = [cells(line) for line in tables.layers(record).splitlines()[2:]]
    assert layer[-5:] == ["2000.0", "50", "50", "multiply", "1.0e-07"]


def test_networks_outside_the_set_are_apart_and_keep_the_other_sections(record):
    away = Workload("resnet50", 1, (200, 320))
    assert sets.is_outside(away) and not sets.is_outside(Workload("resnet50", 1))
    found = (timing(away, "OpenVINO", 0.02), timing(away, "pycnn", 0.025))
    alone = replace(record, timings=found, failures=(), layers=(), flops={away.network: 10**8})
    names = ("summary", "machine", "networks", "outside", "bf16", "setup", "layers")
    text = "".join(f"<!-- bench:{name} -->\nold {name}\n<!-- /bench -->\n" for name in names)
    new = report.regenerate(text, alone)
    assert re.findall(r"old (\w+)", new) == [name for name in names if name != "outside"]
    # 0.1 GFLOP in 25 ms are 4 % of 100 GFLOP/s
    assert "| resnet50 at 200×320 | 20.0 | 25.0 | 0.80× OpenVINO | 4 | 1.0e-07 |" in new
    assert "Below 1×: 1 of 1: resnet50 1 at 200×320 (0.800×)." in new
    both = merge.merge([replace(record, layers=()), alone])
    new = report.regenerate(text, both)
    assert re.findall(r"old (\w+)", new) == ["bf16", "layers"]
    assert new.count("200×320") == 2  # its row, and the sentence below it
    assert "3.00× at batch 8 (1 network). Below 1.1×: 0 of 2." in new


def test_records_of_one_machine_are_merged_and_no_others(record):
    bf16 = replace(
        record, date="2026-01-03T00:00:00+00:00", timings=(timing(ONE, "pycnn bf16", 0.004),),
        failures=(), layers=(), flops={"vgg16": 1}, limits=replace(ROOF, fma_flops=110e9, l2_bytes_s=1.0),
    )  # fmt: skip
    both = merge.merge([record, bf16])
    assert both.timings == record.timings + bf16.timings and both.layers == record.layers
    assert both.failures == record.failures and both.date == bf16.date
    assert both.flops == {"resnet18": 3 * 10**8, "vgg16": 1}
    assert (both.limits.fma_flops, both.limits.l2_bytes_s) == (110e9, ROOF.l2_bytes_s)
    assert merge.merge([record]) == record
    for other, sentence in (
        (record, "8 figures are in two records, such as resnet18, batch 1, torch NHWC"),
        (replace(bf16, layers=(ROW,)), "1 figures .* resnet18, batch 1, layer conv1"),
        (
            replace(bf16, cpu="Another", threads=1),
            "records under different conditions: processor A processor and Another, threads 2 and 1$",
        ),
        (
            replace(bf16, versions={"pycnn": "0.1", "timm": "1"}),
            ".*: torch 2.13 and None, timm None and 1$",
        ),
    ):
        with pytest.raises(ValueError, match=f"^merge: {sentence}"):
            merge.merge([record, other])


def test_sections_are_regenerated_in_place_and_only_they(record, tmp_path):
    text = "before\n<!-- bench:networks -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:layers -->\n<!-- /bench -->\n"
    once = report.regenerate(text, record)
    assert once.startswith("before\n<!-- bench:networks -->\nBatch 1:\n\n| network |")
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
    assert found == [["summary"], ["machine", "networks", "outside", "bf16", "setup", "layers"]]
    others = {"xeon": ["machine", "networks", "outside", "bf16", "layers"]}
    others["zen4"] = ["machine", "networks", "layers"]
    for name, sections in others.items():
        text = (report.ROOT / "docs" / f"performance-{name}.md").read_text()
        assert re.findall(r"<!-- bench:(\w+) -->", text) == sections


def test_pictures_are_drawn_for_what_the_record_has(record, tmp_path):
    nothing = replace(record, layers=(), timings=())
    drawn = plots.draw(record, nothing, tmp_path / "new")
    assert [p.name for p in drawn] == ["networks.png", "roofline.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for p in drawn)
    away = replace(record, layers=())
    drawn = plots.draw(nothing, away, tmp_path, "svg")
    assert [p.name for p in drawn] == ["outside.svg"] and drawn[0].read_bytes()[:5] == b"<?xml"
    alone = replace(away, timings=record.timings[:3])
    assert plots.draw(nothing, alone, tmp_path) == []  # nothing of ours to hold them against


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
