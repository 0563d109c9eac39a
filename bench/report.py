"""From a record to text: the sections between markers in README.md and docs/performance.md, and pictures.

    python -m bench report FILE.json [--plots FOLDER]

A section is what lies between `<!-- bench:NAME -->` and `<!-- /bench -->`; NAME is a key of `SECTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.layers import of_roof
from pycnn.files import write_text
from pycnn.timing import ENGINES, Record, Workload
from pycnn.timing.table import best_rival, dtype_of, speedup, workloads

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
SPEED = (
    "torch NCHW", "torch NHWC", "torch.compile", "ONNX Runtime", "OpenVINO", "pycnn exact", "pycnn",
)  # fmt: skip


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns are aligned left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.3g}"


def machine(record: Record) -> str:
    """What the figures were measured on, and its limits."""
    limits, versions = record.limits, ", ".join(f"{k} {v}" for k, v in record.versions.items())
    rows = [
        ["fp32 multiply-adds, GFLOP/s", f"{limits.fma_flops / 1e9:.0f}"],
        ["one thread alone, GFLOP/s", f"{limits.fma_1_flops / 1e9:.0f}"],
    ]
    for level in ("l2", "l3", "dram"):
        read, copy = (getattr(limits, f"{level}{word}_bytes_s") / 1e9 for word in ("", "_copy"))
        rows.append([f"{level.upper()}, GB/s read / read + written", f"{read:.0f} / {copy:.0f}"])
    head = (
        f"{record.cpu}, {record.threads} threads, {limits.isa}, L2 {limits.l2_size_bytes >> 10} KiB a core, "
        f"L3 {limits.l3_size_bytes >> 20} MiB; {record.date[:10]}; {versions}."
    )
    return f"{head}\n\n{markdown(['measured limit', 'rate'], rows)}"


def networks(record: Record) -> str:
    """Time a call of every engine of fp32, one row a workload."""
    present = _present(record, "float32")
    rows = []
    for workload in workloads(record.timings):
        found = {t.engine: t for t in record.timings if t.workload == workload}
        ratio, rival = speedup(record.timings, workload), best_rival(record.timings, workload)
        own = found.get("pycnn")
        share = "" if own is None else _share(record, workload, own.p20_s)
        rows.append([
            workload.label,
            *(milliseconds(found[n].p20_s) if n in found else "-" for n in present),
            "" if ratio is None or rival is None else f"{ratio:.2f}× {rival.engine}",
            share,
            "" if own is None else f"{own.error:.1e}",
        ])  # fmt: skip
    columns = ["network, batch", *present, "against the best", "% of multiply rate", "error"]
    text = markdown(columns, rows)
    failed = "".join(f"\n- {failure.sentence}" for failure in record.failures)
    return text + (f"\n\nNot run:\n{failed}" if failed else "")


def _present(record: Record, dtype: str) -> list[str]:
    timed = {t.engine for t in record.timings}
    return [name for name in ENGINES if name in timed and dtype_of(name) == dtype]


def bf16(record: Record) -> str:
    """Time a call of the engines of bf16 beside ours of fp32; only workloads that ours of bf16 ran."""
    present, rows = _present(record, "bfloat16"), []
    for workload in workloads(record.timings):
        found = {t.engine: t for t in record.timings if t.workload == workload}
        own, ratio = found.get("pycnn bf16"), speedup(record.timings, workload, "pycnn bf16")
        if own is None:
            continue
        single = found.get("pycnn")
        least = min((found[n].error for n in present if n in found and n != own.engine), default=0)
        rows.append([
            workload.label,
            *(milliseconds(found[n].p20_s) if n in found else "-" for n in present),
            "" if ratio is None else f"{ratio:.2f}×",
            "" if single is None else f"{single.p20_s / own.p20_s:.2f}×",
            f"{own.error:.1e} ({least:.1e})",
        ])  # fmt: skip
    last = ["against the best", "against pycnn in fp32", "error (least of the others)"]
    head = f"Milliseconds a call, bf16, {record.cpu}, {record.threads} threads, {record.date[:10]}:"
    return f"{head}\n\n{markdown(['network, batch', *present, *last], rows)}"


def _share(record: Record, workload: Workload, seconds: float) -> str:
    if workload.size is not None:
        return ""  # the record has the operations of an image of the network's own size
    flops = workload.batch * record.flops[workload.model]
    return f"{100 * flops / seconds / record.limits.fma_flops:.0f}"


def summary(record: Record) -> str:
    """For the README: p20 milliseconds of the engines that answer one call at a time, and the ratio."""
    rows = []
    present = [n for n in SPEED if any(t.engine == n for t in record.timings)]
    for workload in workloads(record.timings):
        found = {t.engine: t for t in record.timings if t.workload == workload}
        ratio = speedup(record.timings, workload)
        cells = [milliseconds(found[n].p20_s) if n in found else "-" for n in present]
        last = "" if ratio is None else f"{ratio:.2f}×"
        rows.append([workload.label, *cells, last])
    head = f"Milliseconds a call, fp32, {record.cpu}, {record.threads} threads, {record.date[:10]}:"
    return f"{head}\n\n{markdown(['network, batch', *present, 'against the best'], rows)}"


def setup(record: Record) -> str:
    """Seconds until an engine is steady, the second shape, and memory."""
    rows = []
    for t in record.timings:
        second = "built for one" if t.second_shape_s is None else milliseconds(t.second_shape_s)
        rows.append([
            t.workload.label, t.engine, f"{t.setup_s:.2f}", second,
            f"{t.peak_bytes / 2**20:.0f}",
        ])  # fmt: skip
    columns = ["network, batch", "engine", "setup s", "second shape ms", "peak MiB"]
    return markdown(columns, rows, left=2)


def layers(record: Record) -> str:
    """Every layer against its roof."""
    rows = []
    for row in record.layers:
        share, bound = of_roof(row, record.limits)
        rows.append([
            f"{row['network']} {row['batch']}", row["name"], str(row["times"]), row["size"], row["kernel"],
            f"{row['min_s'] * 1e6:.1f}", f"{row['flops'] / row['min_s'] / 1e9:.0f}", f"{100 * share:.0f}", bound,
            f"{row['error']:.1e}",
        ])  # fmt: skip
    columns = [
        "network, batch", "layer", "×", "size", "kernel", "µs", "GFLOP/s", "% of roof", "roof", "error",
    ]  # fmt: skip
    return markdown(columns, rows, left=2)


SECTIONS: dict[str, Callable[[Record], str]] = {
    "summary": summary,
    "machine": machine,
    "networks": networks,
    "bf16": bf16,
    "setup": setup,
    "layers": layers,
}
_SECTION = re.compile(r"<!-- bench:(\w+) -->\n.*?<!-- /bench -->", re.S)


def regenerate(text: str, record: Record, where: str = "text") -> str:
    """`text` with every section written anew; those the record has nothing for stay as they are.

    Raises:
        ValueError: a section's name is unknown.
    """

    def section(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in SECTIONS:
            raise ValueError(f"{where}: no section {name!r}; one of {', '.join(SECTIONS)}")
        if not (record.layers if name == "layers" else record.timings or name == "machine"):
            return match.group(0)
        return f"<!-- bench:{name} -->\n{SECTIONS[name](record)}\n<!-- /bench -->"

    return _SECTION.sub(section, text)


def write_documents(record: Record, documents: Sequence[Path] = DOCUMENTS) -> list[Path]:
    """Regenerate the sections of the documents; returns those that changed.

    Raises:
        OSError, ValueError: as `regenerate`; no document is half written.
    """
    new = {path: regenerate(path.read_text(), record, str(path)) for path in documents}
    changed = [path for path, text in new.items() if text != path.read_text()]
    for path in changed:
        write_text(path, new[path])
    return changed
