"""Which networks can be timed and at which sizes, torchvision's and timm's too, each the same in every process."""

import json
import sys
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from pycnn import extras
from pycnn.timing import (
    ENGINES,
    Failure,
    Listener,
    Timing,
    Workload,
    available,
    compare,
    networks,
    rounds,
)

LENET = Workload("lenet_like", 1)
OTHERS = (
    "torchvision/regnet_y_400mf:1:64x96",
    "timm/regnetx_002:1:64",
    "torchvision/lraspp_mobilenet_v3_large:1:64",
)


def test_networks_of_other_libraries_are_timed_with_their_errors() -> None:
    asked = [Workload.parse(text) for text in OTHERS[:2]]
    found = compare(asked, engines=["torch NCHW", "pycnn"], rounds=1, seconds=0.0, threads=1)
    assert [t.workload for t in found] == [w for w in asked for _ in range(2)]
    assert all(0 < t.error < 1e-5 for t in found)


@pytest.mark.slow
@pytest.mark.parametrize("text", OTHERS)
def test_every_engine_takes_networks_of_other_libraries(text: str) -> None:
    failures: list[Failure] = []
    found = compare(
        [Workload.parse(text)], engines=available(), rounds=1, seconds=0.0, threads=1,
        listener=Listener(on_failure=failures.append),
    )  # fmt: skip
    assert failures == [] and [t.engine for t in found] == available()
    for t in found:
        assert 0 < t.error < (1e-5 if ENGINES[t.engine].dtype == "float32" else 2e-2)


def test_names_and_sizes_are_checked_before_any_work(monkeypatch):
    monkeypatch.setattr(rounds, "_workload", lambda *_: pytest.fail("work began"))
    for text, sentence in (
        (
            "torchvision/resnet19",
            "unknown network 'resnet19' of torchvision: did you mean 'resnet18'",
        ),
        ("keras/resnet50", "unknown library 'keras': one of torchvision, timm"),
        ("/resnet18", "unknown library ''"),
        ("lenet_like:1:40", "lenet_like does not run on images of 1×40×40: "),
        ("torchvision/vit_b_16:1:200", ".*Wrong image height! Expected 224 but got 200!"),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            compare([LENET, Workload.parse(text)])
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(extras.MissingExtraError, match=r"bench needs timm, .*: pip install"):
        compare([Workload("timm/resnet18", 1)])


def test_every_process_makes_the_same_network_whose_errors_show():
    asked = Workload("torchvision/regnet_y_400mf", 1, (64, 64))
    (net, x), (again, same) = (networks.network_and_input(asked) for _ in range(2))
    assert torch.equal(x, same) and not any(m.training for m in net.modules())
    twin = again.state_dict()
    assert all(torch.equal(t, twin[name]) for name, t in net.state_dict().items())
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(0.1 < m.running_mean.std() < 0.4 and m.running_var.min() >= 0.5 for m in norms)
    zero = nn.BatchNorm2d(4)
    nn.init.zeros_(zero.weight)
    networks.randomise_norms(zero)
    assert zero.weight.all()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        a, b = net(x)
    assert (a - b).abs().max() > 1e-3 * a.abs().max()  # not the last bias alone


def test_a_workload_of_another_image_size() -> None:
    square, asked = Workload.parse("small_cnn:2:40"), Workload.parse("small_cnn:2:40x56")
    assert square == Workload("small_cnn", 2, (40, 40)) and asked == replace(square, size=(40, 56))
    assert (square.label, square.title) == ("small_cnn 2 at 40²", "small_cnn, batch 2, 40×40")
    assert (asked.label, asked.title) == ("small_cnn 2 at 40×56", "small_cnn, batch 2, 40×56")
    assert networks.network_and_input(asked)[1].shape == (2, 3, 40, 56)
    small = networks.flops_per_image(replace(square, size=(20, 28)))
    assert 3.9 < networks.flops_per_image(asked) / small < 4  # all but the last layer's
    (found,) = compare([asked], engines=["pycnn"], rounds=1, seconds=0.0, threads=1)
    assert found.workload == asked and found.error < 1e-5
    assert Timing.from_dict(json.loads(json.dumps(asdict(found)))) == found
