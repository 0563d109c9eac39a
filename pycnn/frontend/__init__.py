"""From a live `nn.Module` to a `Graph`: capture at the level of torch functions, one table of converters."""

from .capture import capture
from .trace import CaptureError

__all__ = ["CaptureError", "capture"]
