"""One call as a Chrome trace: what ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from pycnn.files import write_text

if TYPE_CHECKING:
    from pycnn.profile.report import Profile


def write_trace(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write the file, whole or not at all."""
    write_text(path, json.dumps({"traceEvents": events(profile), "displayTimeUnit": "ns"}))


def events(profile: Profile) -> list[dict[str, Any]]:
    """Complete events ("X", microseconds) on one lane a worker, after the names of the lanes."""
    workers = sorted({span.worker for span in profile.spans})
    found = [_name("process_name", 0, profile.title())]
    found += [_name("thread_name", worker, f"worker {worker}") for worker in workers]
    for span in profile.spans:
        layer = profile.layers[span.layer]
        found.append(
            {
                "name": layer.path,
                "cat": layer.op,
                "ph": "X",
                "pid": 0,
                "tid": span.worker,
                "ts": span.begin_s * 1e6,
                "dur": (span.end_s - span.begin_s) * 1e6,
                "args": {
                    "kernel": layer.kernel or "torch",
                    "output": "×".join(map(str, layer.shape)),
                    "GFLOP": layer.flops / 1e9,
                    "MB": layer.bytes / 1e6,
                    "% of limit": layer.percent,
                },
            }
        )
    return found


def _name(kind: str, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 0, "tid": tid, "args": {"name": name}}
