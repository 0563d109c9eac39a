"""`optimize`: several, keyword, nested, optional and non-tensor inputs; whatever structure comes out."""

from __future__ import annotations

import torch
from nets import Outputs, settle

import pycnn


def test_keyword_optional_and_constant_arguments() -> None:
    net = settle(Outputs())
    opt, x, extra = pycnn.optimize(net), torch.randn(2, 3, 9, 9), torch.randn(2, 16, 9, 9)
    with torch.inference_mode():
        for args, kwargs in (
            ((x,), {}),
            ((x, 2.0), {}),
            ((x,), {"extra": extra}),
            ((x,), {"scale": 0.5, "extra": extra}),
        ):
            torch.testing.assert_close(opt(*args, **kwargs)["map"], net(*args, **kwargs)["map"])
