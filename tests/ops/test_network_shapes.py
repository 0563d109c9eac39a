"""Every layer of the networks in bench/shapes by the kernel a plan gives it, against torch in fp64.

Small maps here, real ones where it is marked slow: the same files drive `python -m bench layers`.
"""

from dataclasses import replace

import pytest
import tolerance
import torch

from bench.layers import Problem, Step, params
from bench.shapes import FOLDER, NETWORKS, Layer, of_network, read, write
from pycnn import _C

THREADS = 2
# As in test_conv2d_winograd.py: a tile's outputs share the roundings of its largest terms.
AMPLIFIED = {"winograd2": 4.0, "winograd4": 12.0, "winograd5x5": 12.0}


def smaller(layer: Layer) -> Layer:
    """The same kind of layer with a few windows a map, and at most a million weights."""
    if layer.op == "linear":
        layer = replace(layer, h=min(layer.h, 9))
    else:
        h = layer.dh * (layer.kh - 1) + 1 + 2 * layer.sh + 4
        w = layer.dw * (layer.kw - 1) + 1 + 2 * layer.sw + 5
        layer = replace(layer, h=min(layer.h, h), w=min(layer.w, w))
    while layer.groups == 1 and layer.k * layer.c * layer.kh * layer.kw > 1 << 20:
        layer = (
            replace(layer, k=layer.k // 2) if layer.k > layer.c else replace(layer, c=layer.c // 2)
        )
    return layer


def kernel_for(problem: Problem, wanted: str) -> str:
    """`wanted` if it takes the problem, else the table's own choice."""
    op, p = problem.layer.op, params(problem.layer, problem.batch)
    takes = {name for name, reason in _C.kernels(op, p) if reason is None}
    return wanted if wanted in takes else _C.choose(op, p, THREADS)


def check(problem: Problem, kernel: str) -> None:
    layer = problem.layer
    step = Step(problem, kernel, THREADS)
    step.run()
    plain = replace(problem, layer=replace(layer, act="none"))
    sizes = replace(
        plain, x=plain.x.abs(), weight=plain.weight.abs(), bias=plain.bias.abs(),
        residual=None if plain.residual is None else plain.residual.abs(),
    )  # fmt: skip
    bound = tolerance.sums(layer.c // layer.groups * layer.kh * layer.kw, sizes.expected())
    for word, factor in AMPLIFIED.items():
        if word in kernel:
            bound = factor * bound.amax((2, 3), keepdim=True).expand_as(bound)
    if layer.act != "none":
        bound = tolerance.activated(plain.expected(), bound)
    tolerance.check(step.result(), problem.expected(), bound)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_at_a_few_windows_a_map(network: str) -> None:
    for layer in read(FOLDER / f"{network}.txt"):
        chosen = _C.choose(layer.op, params(layer, 1), THREADS)
        problem = Problem.random(smaller(layer), 2)
        check(problem, kernel_for(problem, chosen))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_at_its_own_size(network: str) -> None:
    for layer in read(FOLDER / f"{network}.txt"):
        if layer.k * layer.c * layer.kh * layer.kw // layer.groups > 1 << 25:
            layer = replace(layer, k=256)  # VGG's first linear layer is 0.8 GB in fp64
        problem = Problem.random(layer, 1)
        check(problem, _C.choose(layer.op, params(problem.layer, problem.batch), THREADS))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_is_what_the_captured_graph_has(network: str) -> None:
    assert read(FOLDER / f"{network}.txt") == of_network(network)


def test_the_files_have_what_the_format_promises() -> None:
    layers = [layer for network in NETWORKS for layer in read(FOLDER / f"{network}.txt")]
    assert {layer.op for layer in layers} == {"conv2d", "linear"}
    assert any(layer.groups == layer.c > 1 for layer in layers)
    assert any(layer.dh > 1 for layer in layers)
    assert any(layer.residual for layer in layers)
    assert any(layer.nchw for layer in layers)


def test_odd_windows_groups_and_dilations_go_through_a_file(tmp_path, monkeypatch) -> None:
    odd = Layer("a.b", 3, "conv2d", 17, 9, 12, 8, 1, 7, 2, 1, 0, 3, 1, 2, 1, 2, 4, 0, 1, "silu")
    monkeypatch.setattr("bench.shapes.of_network", lambda network: [odd])
    assert read(write("resnet18", tmp_path)) == [odd]
    assert odd.out == (9, 2) and odd.weight_shape == (8, 3, 1, 7)
    assert odd.flops(2) == 2 * 2 * 9 * 2 * 8 * 3 * 7
    torch.testing.assert_close(
        torch.tensor(Problem.random(odd, 2).expected().shape), torch.tensor([2, 8, 9, 2])
    )
    check(Problem.random(odd, 2), "conv2d_patch_f32_baseline")
    path = tmp_path / "resnet18.txt"
    path.write_text(path.read_text() + "conv 1 conv2d 3\n")
    with pytest.raises(ValueError, match=r"resnet18.txt:4: 4 cells under 21 names"):
        read(path)
