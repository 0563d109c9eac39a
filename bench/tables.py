"""A record's figures as the tables of the documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import geometric_mean

from bench.layers import of_roof
from pycnn.timing import ENGINES, Record, Timing, Workload
from pycnn.timing.table import best_rival, dtype_of, speedup, workloads

CLEARLY = 1.1  # times faster than the best other engine: what one run of a machine can resolve
SETUP = ("torch.compile", "ONNX Runtime", "OpenVINO", "pycnn")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns are aligned left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:#.3g}"


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


def networks(record: Record, enough: float = CLEARLY) -> str:
    """Time a call of every engine of fp32, one row a network and one table a batch size, and how often that is less
    than `enough` times faster than the best other engine."""
    present = _present(record, "float32")
    columns = ["network", *present, "against the best", "% of multiply rate", "error"]

    def row(workload: Workload) -> list[str]:
        found = _of(record, workload)
        ratio, rival = speedup(record.timings, workload), best_rival(record.timings, workload)
        own = found.get("pycnn")
        return [
            workload.network,
            *_times(found, present),
            "" if ratio is None or rival is None else f"{ratio:.2f}× {rival.engine}",
            "" if own is None else _share(record, workload, own.p20_s),
            "" if own is None else f"{own.error:.1e}",
        ]

    parts = [
        _by_batch(workloads(record.timings), lambda some: markdown(columns, [*map(row, some)]))
    ]
    parts.append(means(record, "pycnn", enough))
    if record.failures:
        parts.append("Not run:\n\n" + "\n".join(f"- {f.sentence}" for f in record.failures))
    return "\n\n".join(filter(None, parts))


def outside(record: Record) -> str:
    """The same of networks outside the main set, where no slower than the best is enough."""
    return f"{_head(record, 'fp32')}\n\n{networks(record, 1.0)}"


def bf16(record: Record) -> str:
    """Time a call of the engines of bf16 beside ours of fp32; only workloads that ours of bf16 ran."""
    present = _present(record, "bfloat16")
    last = ["against the best", "against pycnn in fp32", "error (least of the others)"]

    def row(workload: Workload) -> list[str]:
        found, ratio = _of(record, workload), speedup(record.timings, workload, "pycnn bf16")
        own, single = found["pycnn bf16"], found.get("pycnn")
        least = min((found[n].error for n in present if n in found and n != own.engine), default=0)
        return [
            workload.network,
            *_times(found, present),
            "" if ratio is None else f"{ratio:.2f}×",
            "" if single is None else f"{single.p20_s / own.p20_s:.2f}×",
            f"{own.error:.1e} ({least:.1e})",
        ]

    ours = [t.workload for t in record.timings if t.engine == "pycnn bf16"]
    if not ours:
        return ""
    columns = ["network", *present, *last]
    tables = _by_batch(ours, lambda some: markdown(columns, [*map(row, some)]))
    parts = [_head(record, "bf16"), tables, means(record, "pycnn bf16")]
    return "\n\n".join(filter(None, parts))


def means(record: Record, engine: str, enough: float = CLEARLY) -> str:
    """A sentence: the geometric mean of `engine` against the best other one of its dtype at each batch size, and which
    workloads are below `enough`; empty: nothing to compare with."""
    ratios = {w: speedup(record.timings, w, engine) for w in workloads(record.timings)}
    known = {w: ratio for w, ratio in ratios.items() if ratio is not None}
    if not known:
        return ""
    words = []
    for batch in sorted({w.batch for w in known}):
        some = [ratio for w, ratio in known.items() if w.batch == batch]
        count = f"{len(some)} network{'s' if len(some) > 1 else ''}"
        words.append(f"{geometric_mean(some):.2f}× at batch {batch} ({count})")
    below = [f"{w.label} ({ratio:.3f}×)" for w, ratio in known.items() if ratio < enough]
    names = f": {', '.join(below)}" if below else ""
    return (
        f"Geometric mean against the best: {', '.join(words)}. "
        f"Below {enough:g}×: {len(below)} of {len(known)}{names}."
    )


def summary(record: Record) -> str:
    """For the README: one row a network, at each batch size the best other engine, ours and the ratio."""
    found = workloads(record.timings)
    batches = sorted({w.batch for w in found})
    columns = ["network"]
    for batch in batches:
        columns += [f"best other at batch {batch}", "pycnn", "ratio"]
    by_place = {(w.network, w.batch): w for w in found}
    rows = []
    for network in dict.fromkeys(w.network for w in found):
        cells = [_against(record, by_place.get((network, batch))) for batch in batches]
        rows.append([network, *(cell for three in cells for cell in three)])
    parts = [_head(record, "fp32"), markdown(columns, rows), means(record, "pycnn")]
    return "\n\n".join(filter(None, parts))


def _against(record: Record, workload: Workload | None) -> tuple[str, str, str]:
    if workload is None:
        return "-", "-", "-"
    own, rival = _of(record, workload).get("pycnn"), best_rival(record.timings, workload)
    ratio = speedup(record.timings, workload)
    return (
        "-" if rival is None else f"{milliseconds(rival.p20_s)} {rival.engine}",
        "-" if own is None else milliseconds(own.p20_s),
        "-" if ratio is None else f"{ratio:.2f}×",
    )


def setup(record: Record) -> str:
    """Seconds until an engine is steady, its peak of memory, and what a second shape costs ours."""
    engines = [n for n in SETUP if any(t.engine == n for t in record.timings)]
    columns = [
        "network, batch", *(f"setup s: {n}" for n in engines), *(f"peak MiB: {n}" for n in engines),
        "second shape ms: pycnn",
    ]  # fmt: skip
    rows = []
    for workload in workloads(record.timings):
        found = _of(record, workload)
        timed = [found.get(n) for n in engines]
        second = found["pycnn"].second_shape_s if "pycnn" in found else None
        rows.append([
            workload.label,
            *("-" if t is None else f"{t.setup_s:.2f}" for t in timed),
            *("-" if t is None else f"{t.peak_bytes / 2**20:.0f}" for t in timed),
            "-" if second is None else milliseconds(second),
        ])  # fmt: skip
    return markdown(columns, rows)


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


def _head(record: Record, dtype: str) -> str:
    return (
        f"Milliseconds a call, {dtype}, {record.cpu}, {record.threads} threads, {record.date[:10]}:"
    )


def _present(record: Record, dtype: str) -> list[str]:
    timed = {t.engine for t in record.timings}
    return [name for name in ENGINES if name in timed and dtype_of(name) == dtype]


def _of(record: Record, workload: Workload) -> dict[str, Timing]:
    return {t.engine: t for t in record.timings if t.workload == workload}


def _times(found: dict[str, Timing], engines: Sequence[str]) -> list[str]:
    return [milliseconds(found[n].p20_s) if n in found else "-" for n in engines]


def _by_batch(found: Sequence[Workload], table: Callable[[list[Workload]], str]) -> str:
    batches = sorted({w.batch for w in found})
    tables = [f"Batch {n}:\n\n{table([w for w in found if w.batch == n])}" for n in batches]
    return "\n\n".join(tables)


def _share(record: Record, workload: Workload, seconds: float) -> str:
    flops = workload.batch * record.flops[workload.network]
    return f"{100 * flops / seconds / record.limits.fma_flops:.0f}"
