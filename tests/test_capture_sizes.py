"""Sizes in captured graphs: symbolic, guarded, computed again."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, captured, images
from torch import Tensor

from pycnn import ir
from pycnn.frontend import capture


def test_view_by_batch_size_is_a_flatten_for_every_shape() -> None:
    model = Fn(lambda self, x: F.relu(x).view(x.size(0), -1))
    graph = captured(model, images(2, 3, 4, 4), images(5, 3, 6, 2), images(1, 3, 1, 1))
    assert graph.sizes_read
    assert graph.has(flatten=1, reshape=0)


def test_view_to_literal_features_is_a_flatten_under_a_guard() -> None:
    model = Fn(lambda self, x: F.relu(x).view(-1, 48))
    graph = captured(model, images(2, 3, 4, 4), images(5, 3, 2, 8))
    assert graph.has(flatten=1)
    with pytest.raises(ir.ShapeError, match="captured where"):
        ir.infer_shapes(graph, [(2, 3, 8, 8)])
    assert captured(model, images(2, 3, 8, 8)).has(reshape=1)


def test_sizes_are_computed_again() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = F.interpolate(F.avg_pool2d(x, 2), size=x.shape[-2:])
        return (y + torch.ones(h, w + 0)).reshape(n, c, h * w).narrow(2, 0, h * w // 2)

    graph = captured(Fn(forward), images(2, 3, 8, 6), images(1, 3, 5, 7), images(3, 3, 2, 2))
    assert graph.sizes_read


def test_a_branch_on_a_size_is_guarded() -> None:
    model = Fn(lambda self, x: F.relu(x) if x.shape[2] > 4 and x.size(0) else torch.sigmoid(x))
    graph = captured(model, images(2, 3, 5, 5), images(1, 3, 9, 5))
    assert len(graph.guards) == 2
    with pytest.raises(ir.ShapeError):
        ir.run_torch(graph, [images(2, 3, 4, 5)])


def test_second_capture_tells_generic_from_specialised() -> None:
    generic = Fn(lambda self, x: x.reshape(x.shape[0], x.shape[1], -1) * 2)
    hidden = Fn(lambda self, x: sum((x * i for i in range(x.shape[0])), x))
    added = Fn(lambda self, x: x + torch.linspace(0, 1, x.shape[3]))
    a, b = (images(2, 3, 4, 4),), (images(3, 3, 5, 6),)
    assert ir.same_structure(capture(added, a), capture(added, b))
    assert ir.same_structure(capture(generic, a), capture(generic, b))
    assert not ir.same_structure(capture(hidden, a), capture(hidden, b))
    shaped = Fn(lambda self, x: F.relu(x) + torch.full((1,), float(x.shape[2])))
    assert not ir.same_structure(capture(shaped, a), capture(shaped, b))


def test_dim_arithmetic_and_guards() -> None:
    h = ir.Dim(6, ir.Size(0, 2))
    with ir.recording_guards() as guards:
        value = (2 * h - 1) // 3 % 5 + (10 - h)
        assert isinstance(value, ir.Dim)
        assert not guards
        assert ir.evaluate(value.expr, {0: (1, 1, 9)}) == (2 * 9 - 1) // 3 % 5 + 1
        assert max(h, 4) is h
        assert h / 4 == 1.5
        assert [0] * h == [0] * 6
    assert [str(g) for g in guards] == ["not 4 > size(%0, 2)", "size(%0, 2) == 6"] or len(
        guards
    ) == 2
    assert all(g.holds({0: (1, 1, 6)}) for g in guards)
    assert not all(g.holds({0: (1, 1, 7)}) for g in guards)
