"""Pictures of networks as SVG: units in execution order become blocks in columns, with branches and skips."""

from pycnn.picture.draw import draw
from pycnn.picture.unit import Unit

__all__ = ["Unit", "draw"]
