"""`pretrained=`: files, wrappers, prefixes, and a sentence that names every key that does not fit."""

import re

import pytest
import safetensors.torch
import torch
from torch import nn

import pycnn


@pytest.fixture
def state():
    torch.manual_seed(11)
    return pycnn.create_model("small_cnn").state_dict()


def equal(net, state):
    own = net.state_dict()
    return list(own) == list(state) and all(torch.equal(own[key], state[key]) for key in state)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_files(tmp_path, state, suffix):
    path = tmp_path / f"net{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(state, path)
    assert equal(pycnn.create_model("small_cnn", pretrained=path), state)
    assert equal(pycnn.create_model("small_cnn", pretrained=str(path)), state)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes(state, key, prefix):
    wrapped = {"epoch": 3, key: {prefix + name: t for name, t in state.items()}}
    assert equal(pycnn.create_model("small_cnn", pretrained=wrapped), state)


def test_files_without_batch_counters_fit(state):
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert equal(pycnn.create_model("small_cnn", pretrained=old), state)


def test_every_misfit_is_named_and_nothing_is_loaded(state):
    net = pycnn.create_model("small_cnn")
    before = {key: t.clone() for key, t in net.state_dict().items()}
    del state["features.0.bias"], state["features.4.running_var"]
    state["extra.one"] = state["extra.two"] = torch.zeros(1)
    state["classifier.weight"] = torch.zeros(7, 128)
    state["classifier.bias"] = torch.zeros(7)
    with pytest.raises(ValueError) as caught:
        pycnn.models.load_weights(net, state)
    assert str(caught.value) == (
        "load_weights: the state_dict does not fit: missing features.0.bias, features.4.running_var; "
        "unexpected extra.one, extra.two; classifier.weight is [7, 128], the network has [10, 128]; "
        "classifier.bias is [7], the network has [10]"
    )
    assert equal(net, before)


def test_a_file_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"net\.pt cannot be read as tensors: ") as caught:
        pycnn.create_model("small_cnn", pretrained=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.pth", b"", "cannot be read as tensors"),
        ("net.pth", b"PK\x03\x04 cut short", "cannot be read as tensors"),
        ("net.safetensors", b"\x00" * 4, "cannot be read as tensors"),
        ("net.onnx", b"", r"is no \.pth, \.pt, \.bin or \.safetensors file"),
    ],
)
def test_damaged_and_foreign_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pycnn.create_model("small_cnn", pretrained=path)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("nowhere.pth", FileNotFoundError, "create_model('small_cnn'): there is no file nowhere.pth"),
        (3, TypeError, "pretrained must be a path or a state_dict, got int"),
        ({"epoch": 3, "lr": 0.1}, TypeError, "holds something else than tensors: 'epoch' is a int, 'lr' is a float"),
        ({}, ValueError, "missing features.0.weight, features.0.bias"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict(given, kind, message):
    with pytest.raises(kind) as caught:
        pycnn.create_model("small_cnn", pretrained=given)
    assert message in str(caught.value)


def test_densenets_dotted_keys():
    net = pycnn.create_model("densenet121", num_classes=5)
    state = net.state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): t
        for key, t in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.running_mean" in old
    assert equal(pycnn.create_model("densenet121", num_classes=5, pretrained=old), state)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_files_with_auxiliary_heads_fit_networks_without(name):
    state = pycnn.create_model(name, num_classes=5).state_dict()
    net = pycnn.create_model(name, num_classes=5, aux_logits=False, pretrained=state)
    assert len(net.state_dict()) < len(state)
    assert all(torch.equal(t, state[key]) for key, t in net.state_dict().items())
