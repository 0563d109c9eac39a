"""pycnn: convolutional networks of PyTorch, run several times faster with the same numbers."""

import torch as _torch_first  # noqa: F401  # its libraries must be loaded before our extension

from pycnn import blocks, models, ops
from pycnn._version import __version__
from pycnn.explain import explain
from pycnn.models import create_model
from pycnn.optimize import OptimizedModule, optimize
from pycnn.planning.limit import MemoryLimitError
from pycnn.profile import Profile, profile
from pycnn.registry import list_models
from pycnn.saved import load, save
from pycnn.summary import Summary, summary
from pycnn.verify import Certificate, verify

__all__ = [
    "Certificate",
    "MemoryLimitError",
    "OptimizedModule",
    "Profile",
    "Summary",
    "__version__",
    "create_model",
    "explain",
    "list_models",
    "load",
    "blocks",
    "models",
    "ops",
    "optimize",
    "profile",
    "save",
    "summary",
    "verify",
]
