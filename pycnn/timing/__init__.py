"""Engines timed side by side on networks of the zoo, each in a process of its own.

Idle thread pools of one engine slow the next one in the same process (measured 1.5-5x), so every engine gets a worker:
`python -m pycnn.timing ENGINE THREADS`, which answers JSON requests on stdin with JSON lines on stdout. `compare` lets
the workers take turns in ABBA order, so that a slow phase of the machine falls on all of them.
"""

from pycnn.timing.engines import ENGINES, TORCH_ENGINES, Engine, available, find_engines
from pycnn.timing.record import Record, measure
from pycnn.timing.results import Failure, Timing, Workload
from pycnn.timing.rounds import Listener, compare

__all__ = [
    "ENGINES",
    "TORCH_ENGINES",
    "Engine",
    "Failure",
    "Listener",
    "Record",
    "Timing",
    "Workload",
    "available",
    "compare",
    "find_engines",
    "measure",
]
