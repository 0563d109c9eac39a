"""From a live `nn.Module` to a `Graph`: capture at the level of torch functions, one table of converters."""

from .calls import CaptureError
from .capture import capture
from .origins import Replay
from .program import module_of
from .saved import SavedGraph, SavedNetwork, table_of

__all__ = [
    "CaptureError",
    "Replay",
    "SavedGraph",
    "SavedNetwork",
    "capture",
    "module_of",
    "table_of",
]
