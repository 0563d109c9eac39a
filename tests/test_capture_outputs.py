"""What goes into a captured model and what comes out of it."""

from __future__ import annotations

from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from captured import Fn, captured, images, net
from torch import Tensor, nn

import pycnn
from pycnn import ir
from pycnn.frontend import capture


@dataclass
class Pair:
    first: Tensor
    rest: list[Tensor]
    label: str = "pair"


Named = namedtuple("Named", ["a", "b"])


def test_outputs_keep_their_structure() -> None:
    def forward(self: Fn, x: Tensor) -> object:
        y = F.relu(x)
        pair = Pair(y * 2, [y * 3, y])
        return {
            "pair": pair,
            "named": Named(y, None),
            "n": x.shape[0],
            "text": "t",
            "w": self.conv.weight,
        }

    model, x = Fn(forward, conv=nn.Conv2d(1, 1, 1)), images(2, 3, 4, 4)
    graph = capture(model, (x,))
    for inputs in (x, images(5, 3, 4, 4)):
        result, expected = ir.run_torch(graph, [inputs]), model(inputs)
        assert list(result) == list(expected)
        assert isinstance(result["pair"], Pair)
        assert isinstance(result["named"], Named)
        assert (result["n"], result["text"], result["named"].b) == (len(inputs), "t", None)
        assert result["w"] is model.conv.weight
        assert result["pair"].rest[1] is result["named"].a
        torch.testing.assert_close(result["pair"].rest, expected["pair"].rest)


def test_pass_through_and_aliased_outputs() -> None:
    def forward(self: Fn, x: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(x)
        return x, x.flatten(1)[:, 1:], y, y.view(-1), y + 1, x.clone()

    x = images(2, 3, 4, 4)
    graph = capture(Fn(forward), (x,))
    got, expected = ir.run_torch(graph, [x]), Fn(forward)(x)
    torch.testing.assert_close(got, expected)
    assert got[0] is x
    assert got[1].data_ptr() == expected[1].data_ptr()
    assert got[3].data_ptr() == got[2].data_ptr()
    assert got[5].data_ptr() != x.data_ptr()
    values = graph.output_values()
    assert values[0] == graph.inputs[0]
    assert {values[1], values[3]} <= graph.aliased
    assert not graph.aliased & {values[0], values[4], values[5]}


def test_several_keyword_and_constant_inputs() -> None:
    def forward(
        self: Fn, x: Tensor, *, scale: Tensor, mode: str = "a", pair: list[Tensor]
    ) -> Tensor:
        return (x + pair[0]) * scale if mode == "a" else x

    x, s, p = images(2, 3, 4, 4), torch.tensor(2.0), images(2, 3, 4, 4)
    kwargs = {"scale": s, "mode": "a", "pair": [p]}
    graph = capture(Fn(forward), (x,), kwargs)
    tensors = graph.input_tree.tensors((x,), kwargs)
    assert tensors is not None
    torch.testing.assert_close(ir.run_torch(graph, tensors), (x + p) * s)
    assert graph.input_tree.tensors((x,), {**kwargs, "mode": "b"}) is None
    assert graph.input_tree.tensors((x, x), kwargs) is None


def test_device_dtype_and_factories_are_the_real_ones() -> None:
    def forward(self: Fn, x: Tensor) -> Tensor:
        assert x.device.type == "cpu"
        assert not x.is_meta
        mask = torch.arange(x.shape[3], device=x.device) % 2
        return x.to(x.device) * mask.to(x.dtype)

    captured(Fn(forward), images(2, 3, 4, 5), images(1, 3, 4, 8))


def test_returned_views_named_by_whole_shapes() -> None:
    """x.shape is a torch.Size, which holds nothing but ints."""

    class Views(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            y = F.relu(x)
            return y, y.view(y.shape), y[:1].expand(y.shape)

    x = images(2, 3, 4, 4)
    fast = pycnn.optimize(Views().eval())
    for mine, theirs in zip(fast(x), Views()(x), strict=True):
        assert torch.equal(mine, theirs)


def test_weights_made_of_the_models_tensors_are_packed_those_made_of_the_input_are_multiplied() -> (
    None
):
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    assert captured(conv, images(1, 3, 8, 8)).has(conv2d=1, torch=0)

    class Dynamic(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, super().forward(x.mean((2, 3))).view(4, 3, 3, 3))

    graph = capture(Dynamic(3, 4 * 3 * 9).eval(), (images(1, 3, 8, 8),))
    assert graph.has(conv2d=0, matmul=1, torch=0)


def test_capture_inside_inference_mode() -> None:
    with torch.inference_mode():
        graph = capture(net(), (images(1, 3, 8, 8),))
    assert graph.has(conv2d=1, torch=0)


def test_captures_in_several_threads_do_not_mix() -> None:
    models = [nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(20 + i))).eval() for i in range(4)]
    x = images(1, 3, 4, 4)
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda model: capture(model, (x,)), models * 5))
    for model, graph in zip(models * 5, graphs, strict=True):
        assert [node.path for node in graph.nodes] == [str(i) for i in range(len(model))]


def test_verify_names_the_bad_node() -> None:
    graph = capture(net(), (images(1, 3, 8, 8),))
    with pytest.raises(ir.GraphError, match=r"node 0, .*batch_norm.*before it is defined"):
        ir.verify(graph.replace(nodes=graph.nodes[1:]))
    with pytest.raises(ir.GraphError, match="a second time"):
        ir.verify(graph.replace(nodes=(graph.nodes[0], *graph.nodes)))
