"""Saved networks: the same bits without the model's code, live weights, gradients."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from nets import error, settle, truth
from torch import Tensor, nn

import pycnn


class Branches(nn.Module):
    """Two inputs, a keyword, a dict out, sizes read, a torch step, a constant, a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.mean = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
        self.register_buffer("shift", torch.randn(8, 1, 1), persistent=False)

    def forward(self, x: Tensor, other: Tensor, *, up: float = 2.0) -> dict[str, Any]:
        y = F.relu(self.bn(self.conv(x - self.mean))) + self.shift
        z = F.interpolate(y, scale_factor=up, mode="bicubic", align_corners=True)
        k = torch.tensor([1.0, 2.0, 3.0, 4.0])
        return {
            "y": y,
            "pair": (z, y.flatten(1).shape[1]),
            "list": [other * 2, y[:, :4].mean((2, 3)) * k],
        }


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def saved(net: nn.Module, path: Path, *inputs: Any, **options: Any) -> Any:
    fast = pycnn.optimize(net, **options)
    with torch.inference_mode():
        fast(*inputs)
    pycnn.save(fast, path)
    return fast, pycnn.load(path)


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda: pycnn.create_model("resnet18", num_classes=9), (1, 3, 64, 48)),
    "densenet121": (lambda: pycnn.create_model("densenet121", num_classes=9), (1, 3, 64, 64)),
    "mobilenet_v3_small": (lambda: pycnn.create_model("mobilenet_v3_small"), (1, 3, 64, 64)),
    "mobilevit_xxs": (lambda: pycnn.create_model("mobilevit_xxs"), (1, 3, 64, 64)),
    "unet": (lambda: pycnn.create_model("unet", width=8), (1, 1, 48, 32)),
    "deeplabv3_mobilenet_v3_large": (lambda: pycnn.create_model("deeplabv3_mobilenet_v3_large"), (1, 3, 65, 64)),
    "lenet_like": (lambda: pycnn.create_model("lenet_like"), (1, 1, 28, 28)),
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_come_back_with_the_same_bits_at_any_batch(
    name: str, tmp_path: Path
) -> None:
    make, shape = ZOO[name]
    net = settle(make())
    fast, loaded = saved(net, tmp_path / "net.pycnn", torch.randn(shape))
    assert list(loaded.state_dict()) == list(net.state_dict())
    for n in (1, 3):
        x = torch.randn(n, *shape[1:])
        with torch.inference_mode():
            for a, b in zip(
                *map(torch.utils._pytree.tree_leaves, (fast(x), loaded(x))), strict=True
            ):
                assert torch.equal(a, b) and a.stride() == b.stride()
    assert [s.kernel for s in pycnn.explain(loaded, x).steps] == [
        s.kernel for s in pycnn.explain(fast, x).steps
    ]


def test_structures_torch_steps_and_constants(tmp_path: Path) -> None:
    net = settle(Branches())
    fast, loaded = saved(net, tmp_path / "net.pycnn", torch.randn(2, 3, 8, 6), torch.randn(5))
    for shape in ((2, 3, 8, 6), (1, 3, 5, 9)):
        args = torch.randn(shape), torch.randn(5)
        with torch.inference_mode():
            mine, theirs = loaded(*args), net(*args)
        assert list(mine) == list(theirs) and mine["pair"][1] == theirs["pair"][1]
        assert type(mine["pair"]) is tuple and type(mine["list"]) is list
        for a, b in zip(*map(torch.utils._pytree.tree_leaves, (mine, theirs)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"saved for inputs like \[2, 3, 8, 6\] and \[5\], not for"
    ):
        loaded(torch.randn(1, 3, 8, 6))
    with pytest.raises(
        ValueError, match=r"and \[5\], not for \[1, 3, 5, 9\] and \[5\] and up=3.0$"
    ):
        loaded(*args, up=3.0)


def test_weights_live_and_train_elsewhere(tmp_path: Path) -> None:
    net = settle(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
    )
    _, loaded = saved(net, tmp_path / "net.pycnn", torch.randn(1, 3, 8, 8))
    x = torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        for model in (net, loaded):
            model.get_parameter("0.weight").mul_(2)
    other = settle(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
    )
    for state in (None, other.state_dict()):
        if state is not None:
            net.load_state_dict(state), loaded.load_state_dict(state)
        with torch.inference_mode():
            assert error(loaded(x), truth(net, x)) < 1e-5
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    found = torch.autograd.grad(loaded(leaves[0]).sum(), [leaves[0], *loaded.parameters()])
    expected = torch.autograd.grad(net(leaves[1]).sum(), [leaves[1], *net.parameters()])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="runs in eval mode; to train, load its state_dict"):
        loaded.train()
    assert pycnn.verify(loaded, net, x).ok


def test_copies_are_networks_of_their_own(tmp_path: Path) -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()))
    _, loaded = saved(net, tmp_path / "net.pycnn", torch.randn(1, 3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    other = copy.deepcopy(loaded)
    with torch.no_grad():
        other.get_parameter("0.weight").zero_()
    with torch.inference_mode():
        assert torch.equal(other(x), net[0].bias.relu()[None, :, None, None].expand(2, 6, 6, 6))
        assert error(loaded(x), truth(net, x)) < 1e-5
    assert pycnn.verify(loaded, loaded, x).ok


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    _, loaded = saved(Tied().eval(), tmp_path / "net.pycnn", torch.randn(3, 6))
    assert loaded.first.weight is loaded.second.weight
    assert list(loaded.state_dict()) == list(Tied().state_dict())


def test_a_file_is_safetensors_and_needs_no_model_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 5, 3)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x).relu()\n"
    )
    x = torch.randn(1, 3, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    write = (
        "import mine, pycnn, torch; torch.manual_seed(0); net = pycnn.optimize(mine.Net().eval())\n"
        "net.warmup((1, 3, 8, 8)); pycnn.save(net, 'net.pycnn')\n"
        "torch.save(net(torch.load('x.pt')).detach(), 'y.pt')"
    )
    read = (
        "import pycnn, torch; net = pycnn.load('net.pycnn', strict=True)\n"
        "with torch.inference_mode(): assert torch.equal(net(torch.load('x.pt')), torch.load('y.pt'))"
    )
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    subprocess.run([sys.executable, "-c", write], cwd=tmp_path, env=env, check=True)
    (tmp_path / "mine.py").unlink()
    subprocess.run([sys.executable, "-c", read], cwd=tmp_path, env=env, check=True)
    assert set(safetensors.torch.load_file(tmp_path / "net.pycnn")) == {"conv.weight", "conv.bias"}


def test_several_graphs_and_sizes_that_stay_fixed(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if x.shape[-1] % 2 else x.tanh() * float(x.shape[-1])

    fast = pycnn.optimize(Odd().eval())
    fast.warmup((1, 3, 8, 7), (1, 3, 8, 6))
    pycnn.save(fast, tmp_path / "net.pycnn")
    loaded = pycnn.load(tmp_path / "net.pycnn")
    with torch.inference_mode():
        for shape in ((1, 3, 8, 7), (2, 3, 8, 6), (1, 3, 8, 9)):
            x = torch.randn(shape)
            torch.testing.assert_close(loaded(x), Odd()(x), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="saved for inputs"):
        loaded(torch.randn(1, 3, 8, 4))


def test_what_cannot_be_saved_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pycnn"

    class Pair:
        def __init__(self, x: Tensor) -> None:
            self.x = x

    torch.utils._pytree.register_pytree_node(Pair, lambda p: ([p.x], None), lambda xs, _: Pair(*xs))

    class Gives(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return Pair(x.relu())

    fast = pycnn.optimize(Gives().eval())
    fast(torch.randn(1, 3, 4, 4))
    with pytest.raises(
        ValueError, match="save: a Pair among arguments or results cannot be rebuilt"
    ):
        pycnn.save(fast, path)
    with pytest.raises(ValueError, match=r"has no graph yet: call it once in eval mode"):
        pycnn.save(pycnn.optimize(nn.ReLU().eval()), path)
    with pytest.raises(TypeError, match="expected what optimize"):
        pycnn.save(nn.ReLU(), path)
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="no such file"):
        pycnn.load(path)


def test_no_function_outside_torchs_own_is_called(tmp_path: Path) -> None:
    """A file names functions: what it could do must not go beyond computing."""
    net = settle(Branches())
    path = tmp_path / "net.pycnn"
    saved(net, path, torch.randn(2, 3, 8, 6), torch.randn(5))
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    good = header["network"]
    assert "torch.nn.functional.interpolate" in good
    for evil in (
        "os.system",
        "torch.load",
        "torch.hub.load",
        "aten::from_file.default",
        "builtins.eval",
        "torch.save",
    ):
        header["network"] = good.replace("torch.nn.functional.interpolate", evil)
        safetensors.torch.save_file(tensors, path, header)
        with pytest.raises(
            ValueError, match=f"no network that pycnn.save wrote: .*no function '{evil}'"
        ):
            pycnn.load(path)
