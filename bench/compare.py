"""Two records of one machine: what became slower or faster by more than what one run of it can resolve.

python -m bench compare OLD.json NEW.json [--above 1.1]
"""

from __future__ import annotations

from dataclasses import dataclass

from pycnn.timing import Record


@dataclass(frozen=True)
class Change:
    """One figure in both records: seconds (20th percentile) and their ratio, above 1 where it became slower."""

    name: str
    old_s: float
    new_s: float

    @property
    def ratio(self) -> float:
        """new / old."""
        return self.new_s / self.old_s


def figures(record: Record) -> dict[str, float]:
    """p20 seconds of everything the record has, by name."""
    found = {f"{t.workload.label}, {t.engine}": t.p20_s for t in record.timings}
    for row in record.layers:
        found[f"{row['network']} {row['batch']}, layer {row['name']}"] = row["p20_s"]
    return found


def changes(old: Record, new: Record, above: float = 1.1) -> list[Change]:
    """Figures whose ratio is above `above` or below 1 / `above`, the worst first.

    Raises:
        ValueError: `above` is not over 1.
    """
    if above <= 1:
        raise ValueError(f"compare: above={above} must be over 1")
    before, after = figures(old), figures(new)
    common = [Change(name, before[name], after[name]) for name in before if name in after]
    return sorted(
        (c for c in common if not 1 / above <= c.ratio <= above),
        key=lambda c: c.ratio,
        reverse=True,
    )


def differences(old: Record, new: Record) -> list[str]:
    """Sentences on what else differs, so that a ratio may not be the code's doing."""
    found = []
    for what in ("cpu", "threads"):
        a, b = getattr(old, what), getattr(new, what)
        if a != b:
            found.append(f"{what}: {a} and {b}")
    for name in sorted({*old.versions, *new.versions} - {"pycnn"}):
        a, b = old.versions.get(name, "none"), new.versions.get(name, "none")
        if a != b:
            found.append(f"{name}: {a} and {b}")
    ratio = new.limits.fma_flops / old.limits.fma_flops
    if not 1 / 1.05 <= ratio <= 1.05:
        found.append(f"multiply rate: the new machine's is {ratio:.2f}x the old's")
    for word, record in (("old", old), ("new", new)):
        disturbed = record.disturbances()
        if disturbed:
            found.append(f"{len(disturbed)} figures of the {word} record were disturbed")
    only = sorted(figures(old).keys() ^ figures(new).keys())
    if only:
        found.append(f"{len(only)} figures are in one record only")
    return found
