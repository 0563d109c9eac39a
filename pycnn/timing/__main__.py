"""`python -m pycnn.timing ENGINE THREADS`: the process of one engine, for `pycnn.timing.process`."""

import sys

from pycnn.timing.engines import ENGINES
from pycnn.timing.worker import serve

if len(sys.argv) != 3 or sys.argv[1] not in ENGINES or not sys.argv[2].isdigit():
    sys.exit(f"usage: python -m pycnn.timing ENGINE THREADS, ENGINE one of {list(ENGINES)}")
serve(ENGINES[sys.argv[1]], int(sys.argv[2]))
