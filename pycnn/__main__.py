"""`python -m pycnn` is `pycnn`."""

from pycnn.cli import main

main()
