"""`python -m bench run | layers | shapes | report | compare | coverage | never_slower | calls | saved`: see `--help`.

Exit status: 0 done; 1 a wrong value, a disturbed machine (rerun), or something slower that `compare` or `never_slower`
found; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench import (
    calls,
    compare,
    merge,
    never_slower,
    plots,
    report,
    run,
    saved,
    sets,
    shapes,
    tables,
)
from pycnn import _C
from pycnn.extras import MissingExtraError
from pycnn.timing import Record, Workload, find_engines
from pycnn.timing.networks import check_networks
from pycnn.timing.rounds import check_names
from pycnn.timing.show import Settings, measure_shown
from pycnn.timing.table import rich_table

WORKLOAD = "NETWORK[:BATCH[:SIZE]]"


def _run(options: argparse.Namespace) -> int:
    engines = find_engines(options.engines)
    workloads = sets.chosen(options.workloads, options.set)
    layers = options.layers
    if layers is None:
        layers = run.LAYERS if "pycnn" in engines and options.set != "outside" else ()
    run.read_shapes(layers)  # a wrong name is said now, not after the networks
    check_names(workloads, engines)
    path = options.json or run.default_path(options.set)
    settings = Settings(engines, options.threads, options.rounds, options.seconds)
    record = measure_shown(workloads, settings, path)
    if layers:
        record = run.run_layers(layers, options.layer_batch, record)
        record.save(path)
    Console(width=150).print(rich_table(record))
    print(f"written: {path}")
    return _disturbed(record)


def _disturbed(record: Record) -> int:
    for failure in record.failures:
        print(f"failed: {failure.sentence}", file=sys.stderr)
    found = record.disturbances()
    for sentence in found:
        print(f"disturbed: {sentence}", file=sys.stderr)
    if found:
        print("the machine was not quiet: run it again", file=sys.stderr)
    return 1 if found else 0


def _layers(options: argparse.Namespace) -> int:
    run.read_shapes(options.networks)
    record = run.run_layers(options.networks, options.batch, run.empty_record(options.threads))
    if options.json:
        record.save(options.json)
    print(tables.layers(record))
    return 0


def _shapes(options: argparse.Namespace) -> int:
    shapes.main(options.networks)
    return 0


def _report(options: argparse.Namespace) -> int:
    record = merge.merge([Record.load(path) for path in options.records])
    for path in report.write_documents(record, options.documents):
        print(f"written: {path}")
    if options.plots:
        for path in plots.draw(*report.parts(record), options.plots, options.kind):
            print(f"written: {path}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    old, new = Record.load(options.old), Record.load(options.new)
    for sentence in compare.differences(old, new):
        print(f"note: {sentence}")
    found = compare.changes(old, new, options.above)
    for change in found:
        word = "slower" if change.ratio > 1 else "faster"
        times = f"{change.old_s * 1e3:.3f} -> {change.new_s * 1e3:.3f} ms"
        print(f"{word} {max(change.ratio, 1 / change.ratio):.2f}x: {change.name}: {times}")
    if not found:
        print(f"nothing changed by more than {options.above}x")
    return 1 if any(change.ratio > 1 for change in found) else 0


def _coverage(options: argparse.Namespace) -> int:
    from bench import coverage  # it needs torchvision and timm

    def say(row: coverage.Row) -> None:
        print(coverage.sentence(row), flush=True)

    rows = coverage.measure(options.patterns, options.most, options.processes, say)
    if not options.patterns:
        print(f"written: {coverage.write(rows, options.most)}")
    return 0 if all(row.agrees for row in rows) else 1


def _never_slower(options: argparse.Namespace) -> int:
    workloads = sets.chosen(options.workloads, options.set)
    check_networks(workloads)
    found = []
    for workload in workloads:
        held = never_slower.hold(workload, options.tune, options.seconds)
        found += [layer for layer in held if layer.slower]
        worst = held[0]
        print(
            f"{workload.title}: {len(held)} layers; nearest to torch's own op: "
            f"{worst.layer or worst.kernels}, {worst.ours_s * 1e6:.1f} against {worst.torch_s * 1e6:.1f} us",
            flush=True,
        )
    for layer in found:
        times = f"{layer.ours_s * 1e6:.1f} against {layer.torch_s * 1e6:.1f} us"
        print(f"slower: {layer.workload.model}, {layer.layer}: {layer.kernels}: {times}")
    return 1 if found else 0


def _calls(options: argparse.Namespace) -> int:
    rows = []
    for workload in _given(options):
        rows.append(calls.apart(workload))
        print(f"measured: {workload.title}", file=sys.stderr, flush=True)
    Console(width=150).print(calls.table(rows))
    return 0


def _saved(options: argparse.Namespace) -> int:
    rows = []
    for workload in _given(options):
        rows += saved.measure(workload)
        print(f"measured: {workload.title}", file=sys.stderr, flush=True)
    Console(width=150).print(saved.table(rows))
    return 0


def _given(options: argparse.Namespace) -> list[Workload]:
    workloads = [Workload.parse(text) for text in options.workloads]
    check_networks(workloads)
    return workloads


def _add_workloads(parser: argparse.ArgumentParser) -> None:
    text = "of the zoo, or torchvision/NAME, timm/NAME; SIZE: 256 or 200x320 (HxW), default its own"
    parser.add_argument("workloads", nargs="*", metavar=WORKLOAD, help=text)
    parser.add_argument("--set", choices=list(sets.SETS), help="these instead; default: main")


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_workloads(parser)
    parser.add_argument("--engines", nargs="+", default=["all"], metavar="ENGINE")
    parser.add_argument(
        "--layers",
        nargs="*",
        metavar="NETWORK",
        help=f"default: {' '.join(run.LAYERS)}; none without pycnn in fp32, or of --set outside",
    )
    parser.add_argument("--layer-batch", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--threads", type=int, default=int(_C.machine()["cores"]))
    parser.add_argument("--rounds", type=int, default=4, help="turns of an engine on a network")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument(
        "--json", type=Path, help="default: bench/results/cpu/<processor>-<date>.json"
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD")
    parser.add_argument(
        "--documents",
        type=Path,
        nargs="+",
        default=report.DOCUMENTS,
        metavar="PATH",
        help="whose tables are written; default: README.md docs/performance.md",
    )
    parser.add_argument(
        "--plots", type=Path, help="folder for pictures of the networks and the roofline"
    )
    parser.add_argument("--kind", choices=["png", "svg"], default="png", help="of pictures")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cores = int(_C.machine()["cores"])

    def command(
        name: str, do: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(do=do)
        return found

    p = command(
        "run", _run, "time networks on every engine, then their layers, into one JSON record"
    )
    _add_run(p)
    p = command("layers", _layers, "time every layer of networks against the machine's roof")
    p.add_argument("networks", nargs="*", default=["resnet50"])
    p.add_argument("--batch", nargs="+", type=int, default=[1])
    p.add_argument("--threads", type=int, default=cores)
    p.add_argument("--json", type=Path)
    p = command("shapes", _shapes, "write bench/shapes/*.txt anew from the captured graphs")
    p.add_argument("networks", nargs="*")
    p = command(
        "report",
        _report,
        "write the tables of README.md and docs/performance.md from records of one machine",
    )
    _add_report(p)
    p = command("compare", _compare, "say what two records differ in by more than a factor")
    p.add_argument("old", type=Path)
    p.add_argument("new", type=Path)
    p.add_argument("--above", type=float, default=1.1)
    p = command(
        "coverage",
        _coverage,
        "optimise every convolutional network of torchvision and timm; write docs/coverage.md",
    )
    p.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="only these; nothing is written then"
    )
    p.add_argument("--most", type=float, default=30, help="million parameters")
    p.add_argument("--processes", type=int, default=2)
    p = command(
        "never_slower", _never_slower, "hold every layer of networks against torch's own op"
    )
    _add_workloads(p)
    p.add_argument("--tune", action="store_true", help="measure kernels before")
    p.add_argument("--seconds", type=float, default=1.0, help="of a network in its plan")
    p = command(
        "calls", _calls, "say what calls cost besides their kernels: first ones, new shapes, each"
    )
    p.add_argument("workloads", nargs="*", default=calls.DEFAULT, metavar=WORKLOAD)
    p = command("saved", _saved, "say what networks cost that are loaded, packed and not")
    p.add_argument("workloads", nargs="*", default=saved.DEFAULT, metavar=WORKLOAD)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.do(options)
    except (MissingExtraError, OSError, RuntimeError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "bench: interrupted; a record has what was measured, other commands wrote nothing",
            file=sys.stderr,
        )
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
