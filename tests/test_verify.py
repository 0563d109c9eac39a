"""verify: every layer against fp64, wrong weights and wrong plans found and named."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from captured import Fn
from nets import conv_bn, error, settle, truth, verified
from torch import Tensor, nn

import pycnn
from pycnn.planning import arena
from pycnn.planning.memory import Placement
from pycnn.verify.deviation import deviation


def residual_net(width: int = 8) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
            self.relu, self.pool = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(width, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.bn1(self.conv1(x)))
            x = self.relu(x + self.bn2(self.conv2(x)))
            return self.fc(self.pool(x).flatten(1))

    return settle(Net())


NAMES = {
    "conv1": "conv1 + bn1 + relu", "bn1": "conv1 + bn1 + relu",
    "conv2": "conv2 + bn2 + add + relu", "bn2": "conv2 + bn2 + add + relu", "fc": "fc",
}  # fmt: skip
X = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))


def test_layers_have_their_modules_names_in_order() -> None:
    certificate = verified(residual_net(), X)
    assert [check.path for check in certificate.layers] == [
        "conv1 + bn1 + relu", "conv2 + bn2 + add + relu", "pool", "fc",
    ]  # fmt: skip
    assert [check.shape for check in certificate.layers][:2] == [(2, 8, 10, 12)] * 2
    assert certificate.ok and certificate.same_bits and certificate.notes == ()
    assert all(0 < check.error < 1e-5 and check.tol == 1e-4 for check in certificate.layers)


def test_numbers_are_those_of_the_last_layers_output() -> None:
    model = residual_net()
    with torch.no_grad():
        y, own, ref = pycnn.optimize(model)(X).double(), model(X).double(), truth(model, X)
    certificate = verified(model, X)
    for check in (certificate.layers[-1], *certificate.outputs):
        assert check.max_abs == float((y - ref).abs().max())
        assert check.error == pytest.approx(error(y, ref), rel=1e-12)
        assert check.torch_error == pytest.approx(error(own, ref), rel=1e-12)
        assert 1 - check.cosine < 1e-12


def test_deviation_by_hand() -> None:
    found = deviation(torch.tensor([1.0, 2.0, -3.0]), torch.tensor([1.0, 0.0, -4.0]).double())
    assert (found.max_abs, found.error) == (2.0, 0.5)
    assert found.cosine == pytest.approx(13 / math.sqrt(14 * 17))
    nan, inf = math.nan, math.inf
    assert deviation(torch.tensor([nan, inf, 1.0]), torch.tensor([nan, inf, 2.0])).error == 0.5
    for y, ref in (([nan, 1], [0, 1]), ([inf, 1], [-inf, 1]), ([0, 1], [nan, 1]), ([1], [0])):
        assert deviation(torch.tensor(y, dtype=torch.float32), torch.tensor(ref)).error == inf
    assert deviation(torch.zeros(0), torch.zeros(0)).cosine == 1
    assert deviation(torch.tensor([3j]), torch.tensor([4j])).error == 0.25
    assert deviation(torch.tensor([True, False]), torch.tensor([True, True])).max_abs == 1


@pytest.mark.parametrize("layer", NAMES)
def test_a_wrong_weight_is_named(layer: str) -> None:
    model = residual_net()
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.get_submodule(layer).weight[1] *= 1.5
    certificate = pycnn.verify(pycnn.optimize(broken), model, X)
    assert not certificate.ok
    assert certificate.first_bad.path == NAMES[layer]
    assert certificate.worst.error > certificate.worst.tol
    later = [c.path for c in certificate.layers if not c.ok]
    assert later[0] == NAMES[layer] and not certificate.outputs[0].ok
    assert "the first that is not: " + NAMES[layer] in str(certificate)
    if layer == "fc":
        assert certificate.worst.path == "fc"


def test_a_plan_that_uses_memory_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(blocks):
        if len({(b.first, b.last) for b in blocks}) == 1:  # every value kept
            return real(blocks)
        return Placement({b.key: 0 for b in blocks}, max(b.size for b in blocks))

    real = arena.place
    monkeypatch.setattr(arena, "place", place)
    monkeypatch.setattr(arena, "check", lambda *_: None)

    def shortcut(self, x):  # x must outlive the first convolution's output
        x = self.a(x)
        return self.c(self.b(x)) + x

    model = settle(Fn(shortcut, a=conv_bn(3, 8), b=conv_bn(8, 8), c=conv_bn(8, 8)))
    certificate = verified(model, X)
    assert all(check.ok for check in certificate.layers)
    assert not certificate.same_bits and not certificate.ok
    assert "bits differ" in str(certificate)


def test_tolerance() -> None:
    model = residual_net()
    assert not verified(model, X, tol=1e-12).ok
    assert verified(model, X, tol=1.0).layers[0].tol == 1.0
    exact = pycnn.verify(pycnn.optimize(model, exact=True), model, X)
    assert exact.ok and exact.layers[0].tol == 1e-5

    def cancels(self, x):  # torch's own error is larger than the bound
        return (self.conv(x) + 1e4) - 1e4

    rough = verified(Fn(cancels, conv=nn.Conv2d(3, 4, 1)).eval(), X)
    assert rough.outputs[0].torch_error > 1e-4 and rough.ok
    assert rough.outputs[0].tol == 3 * rough.outputs[0].torch_error


def test_json() -> None:
    found = json.loads(verified(residual_net(), X).to_json())
    assert found["ok"] is True and found["first_bad"] is None and found["same_bits"] is True
    assert set(found) == {
        "ok",
        "same_bits",
        "worst",
        "first_bad",
        "layers",
        "outputs",
        "notes",
        "promoted",
    }
    assert set(found["layers"][0]) == {
        "path", "op", "kernel", "shape", "max_abs", "error", "cosine", "torch_error", "tol", "ok", "module",
    }  # fmt: skip
    assert found["worst"] in [layer["path"] for layer in found["layers"] + found["outputs"]]
    assert found["layers"][0]["shape"] == [2, 8, 10, 12]

    model = residual_net()
    broken = copy.deepcopy(model)
    broken.fc.weight.data[0] = math.inf
    found = json.loads(pycnn.verify(pycnn.optimize(broken), model, X).to_json())
    assert found["layers"][-1]["error"] is None and found["layers"][-1]["ok"] is False


def test_the_model_and_random_numbers_stay_as_they_were() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.bn.eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x))

    model = Counts().eval()
    model.bn.train()  # its statistics are the batch's, and a call updates the running ones
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert verified(model, X).ok
    assert torch.equal(torch.get_rng_state(), state)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_an_optimised_module_may_stand_for_the_original() -> None:
    twin = pycnn.optimize(residual_net())
    assert pycnn.verify(twin, twin, X).ok


def test_misuse() -> None:
    model = residual_net()
    twin = pycnn.optimize(model)
    with pytest.raises(TypeError, match="expected what optimize"):
        pycnn.verify(model, model, X)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got Tensor"):
        pycnn.verify(twin, X)
    with pytest.raises(TypeError, match="tol must be a number, got '1e-4'"):
        pycnn.verify(twin, model, X, tol="1e-4")
    with pytest.raises(ValueError, match="tol=-1 must not be negative"):
        pycnn.verify(twin, model, X, tol=-1)
    with pytest.raises(ValueError, match="model is in training mode"):
        pycnn.verify(twin, copy.deepcopy(model).train(), X)
    with pytest.raises(ValueError, match="conv1 .* another network"):
        pycnn.verify(twin, residual_net(9), X)
    noisy = Fn(lambda self, x: x + torch.randn_like(x)).eval()
    with pytest.raises(ValueError, match="draws random numbers"):
        verified(noisy, X)
    half = Fn(lambda self, x: nn.functional.conv2d(x, torch.ones(1, 3, 1, 1))).eval()
    with pytest.raises(ValueError, match="does not run in fp64"):
        verified(half, X)
    with pytest.raises(ValueError, match="the module is in training mode"):
        pycnn.verify(pycnn.optimize(copy.deepcopy(model).train()), model, X)
