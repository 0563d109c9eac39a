"""From a live `nn.Module` to a `Graph`: capture at the level of torch functions, one table of converters."""

from .calls import CaptureError
from .capture import capture

__all__ = ["CaptureError", "capture"]
