"""An installed pycnn, away from its source tree: optimise a small net, compare with the original."""

import sys
from pathlib import Path

import torch
from torch import nn

import pycnn

source = Path(sys.argv[1]).resolve()
package = Path(pycnn.__file__).resolve()
assert source not in package.parents, f"{package} is the source tree, not an installed package"
assert (package.parent / "py.typed").is_file()

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(16 * 8 * 8, 10),
).eval()
x = torch.randn(4, 3, 16, 16)
fast = pycnn.optimize(net)
with torch.inference_mode():
    y = fast(x)
    ref = net.double()(x.double())
error = ((y - ref).abs().max() / ref.abs().max()).item()
assert error <= 1e-5, f"error {error:.1e} against the original in fp64"
print(f"pycnn {pycnn.__version__} at {package.parent}: error {error:.1e}")
