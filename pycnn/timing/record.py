"""`Record`: one run of the benchmark with everything that is needed to judge it, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pycnn._version import __version__
from pycnn.files import write_text
from pycnn.limits import Limits, limits, remeasure
from pycnn.processor import cpu_name
from pycnn.timing.facts import versions
from pycnn.timing.networks import flops_per_image
from pycnn.timing.results import Failure, Timing, Workload
from pycnn.timing.rounds import Listener, check_names, compare

FORMAT = "pycnn bench 1"
MOST_STALLS = 0.05  # of all calls
MOST_FOREIGN = (
    0.05  # of the threads' processors: the figures of one run are then good to about 1.1x
)


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        date: UTC, ISO 8601. cpu, versions, limits: the machine and what ran on it. threads: of every engine.
        rounds, seconds: turns of each engine and their length.
        timings, failures: what was found.
        flops: network and image size (`Workload.network`) to operations of one image, a multiply-add being two.
        layers: rows of `python -m bench layers`, empty elsewhere.
    """

    date: str
    cpu: str
    threads: int
    versions: dict[str, str]
    limits: Limits
    rounds: int
    seconds: float
    timings: tuple[Timing, ...] = ()
    failures: tuple[Failure, ...] = ()
    flops: dict[str, int] = field(default_factory=dict)
    layers: tuple[dict[str, Any], ...] = ()

    @classmethod
    def begin(cls, threads: int, rounds: int, seconds: float) -> Record:
        """An empty record of this machine, its limits measured."""
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        facts = {"pycnn": __version__, **versions()}
        return cls(date, cpu_name(), threads, facts, limits(threads), rounds, seconds)

    def disturbances(self) -> list[str]:
        """Sentences on timings which others' work spoiled; empty: the machine was quiet."""
        found = []
        for t in self.timings:
            name = f"{t.workload.title}, {t.engine}"
            if t.stalls > max(1, MOST_STALLS * t.calls):
                found.append(f"{name}: {t.stalls} of {t.calls} calls took over twice the median")
            if t.foreign_cpus > MOST_FOREIGN * self.threads:
                found.append(f"{name}: others used {t.foreign_cpus:.2f} processors meanwhile")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": FORMAT, **asdict(self), "disturbances": self.disturbances()}

    def save(self, path: str | Path) -> None:
        """Write JSON; the file is whole or as it was.

        Raises:
            OSError: it cannot be written.
        """
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The way back from `to_dict`.

        Raises:
            ValueError: not such a record.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"not a record of this benchmark: format {data.get('format')!r}")
        kept = {k: v for k, v in data.items() if k not in ("format", "disturbances")}
        kept["limits"] = Limits(**kept["limits"])
        kept["timings"] = tuple(map(Timing.from_dict, kept["timings"]))
        kept["failures"] = tuple(map(Failure.from_dict, kept["failures"]))
        kept["layers"] = tuple(kept["layers"])
        return cls(**kept)

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read what `save` wrote.

        Raises:
            OSError: it cannot be read. ValueError: it is no such record; names the file.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: {error}") from None


def measure(
    workloads: Sequence[Workload],
    *,
    engines: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    listener: Listener,
    path: str | Path | None = None,
) -> Record:
    """`compare` into a `Record`; engines that fail are noted, not raised.

    Args:
        path: where the record is saved after each result, so that an interrupted run has lost nothing; None: nowhere.
        The others: see `compare`.

    Raises:
        ValueError: see `check_names`. OSError: `path` cannot be written; said before anything is timed.
    """
    check_names(workloads, engines)
    record = Record.begin(threads, rounds, seconds)
    if path is not None:
        record.save(path)
    timings: list[Timing] = []
    failures: list[Failure] = []

    def keep(best: Limits) -> Record:
        return replace(
            record,
            timings=tuple(timings),
            failures=tuple(failures),
            flops={t.workload.network: flops_per_image(t.workload) for t in timings},
            limits=best,
        )

    def on_timing(timing: Timing) -> None:
        timings.append(timing)
        listener.on_timing(timing)
        if path is not None:
            keep(record.limits).save(path)

    def on_failure(failure: Failure) -> None:
        failures.append(failure)
        if listener.on_failure is not None:
            listener.on_failure(failure)

    compare(
        workloads,
        engines=engines,
        threads=threads,
        rounds=rounds,
        seconds=seconds,
        listener=replace(listener, on_timing=on_timing, on_failure=on_failure),
    )
    final = keep(remeasure(threads))
    if path is not None:
        final.save(path)
    return final
