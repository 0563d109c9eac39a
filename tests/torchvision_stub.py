"""torchvision's and timm's models as references; `pycnn.timing.libraries` says how they are imported."""

from pycnn.timing.libraries import load_timm, load_torchvision

models, timm = load_torchvision(), load_timm()

__all__ = ["models", "timm"]
