"""optimize: the promises, one by one, on hand-typed networks."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from nets import Branches, Outputs, Views, conv_bn, error, fast, settle, truth
from torch import Tensor, nn

import pycnn

SHAPES = [(1, 3, 20, 20), (2, 3, 20, 20), (1, 3, 33, 21), (3, 3, 8, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("make", [Branches, Views])
def test_any_shape_and_format(
    make: type[nn.Module], memory_format: torch.memory_format, shape: tuple[int, ...]
) -> None:
    net = settle(make())
    x = torch.randn(shape).to(memory_format=memory_format)
    ref = truth(net, x)
    with torch.inference_mode():
        expected = net(x)
    y = fast(net, x)
    assert error(y, ref) <= 1e-5
    assert y.stride() == expected.stride() and y.dtype == expected.dtype


def test_one_module_takes_many_shapes() -> None:
    net = settle(Views())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for shape in (*SHAPES, *reversed(SHAPES), (1, 3, 64, 64)):
            x = torch.randn(shape)
            assert error(opt(x), truth(net, x)) <= 1e-5
    assert len(opt._compiled.graphs) == 1, (
        "sizes read from tensors are symbolic: one graph serves all"
    )


def test_a_branch_on_a_size_is_captured_again() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.small(x) if x.shape[2] < 10 else self.large(x)

    net = settle(Branch())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for size in (8, 12, 9, 16, 8, 12):
            x = torch.randn(1, 3, size, size)
            assert error(opt(x), truth(net, x)) <= 1e-5


@pytest.mark.parametrize("view", ["crop", "stride0", "transposed", "narrow_channels", "negative"])
def test_views_as_inputs(view: str) -> None:
    net = settle(Branches())
    x = {
        "crop": lambda: torch.randn(2, 3, 30, 30)[:, :, 4:24, 3:23],
        "stride0": lambda: torch.randn(1, 1, 20, 20).expand(2, 3, 20, 20),
        "transposed": lambda: torch.randn(2, 3, 20, 20).transpose(2, 3),
        "narrow_channels": lambda: torch.randn(2, 8, 20, 20).to(memory_format=torch.channels_last)[
            :, 2:5
        ],
        "negative": lambda: torch.randn(2, 3, 20, 20, dtype=torch.cfloat).conj().imag,
    }[view]()
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(2, 3, 20, 20))
        for _ in range(3):
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_outputs_are_ordinary() -> None:
    net = settle(Outputs())
    opt, x = pycnn.optimize(net), torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        first, second = opt(x), opt(x)
        expected = net(x)
    assert list(first) == ["map", "pair", "input"]
    assert first["input"] is x and first["pair"][1] == 7
    assert isinstance(first["pair"], tuple)
    for a, b in ((first["map"], expected["map"]), (first["pair"][0], expected["pair"][0])):
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b)
    assert first["map"].data_ptr() != second["map"].data_ptr()
    with torch.inference_mode():
        first["map"].zero_()
    torch.testing.assert_close(second["map"], expected["map"])


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


def test_the_model_is_untouched() -> None:
    net = settle(Branches())
    before = copy.deepcopy(net.state_dict())
    keys = set(vars(net))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(1, 3, 20, 20))
    assert set(vars(net)) == keys and not net.training
    assert list(opt.state_dict()) == list(before)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    assert [n for n, _ in opt.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert [n for n, _ in opt.named_modules()] == [n for n, _ in net.named_modules()]


def test_copies_and_pickles() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 20, 20)
    with torch.inference_mode():
        y = opt(x)
        for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
            assert isinstance(twin, pycnn.OptimizedModule) and torch.equal(twin(x), y)
            assert twin.head.weight.data_ptr() != net.head.weight.data_ptr()


def test_optimising_twice_is_optimising_once() -> None:
    net = settle(Branches())
    assert pycnn.optimize(pycnn.optimize(net))._model is net


def test_same_bits_every_time_and_whatever_the_threads() -> None:
    net, x = settle(Branches()), torch.randn(3, 3, 40, 40)
    many, one = pycnn.optimize(net), pycnn.optimize(net, threads=1)
    with torch.inference_mode():
        y = many(x)
        assert torch.equal(many(x), y) and torch.equal(one(x), y)


def test_hooks_fire() -> None:
    net = settle(Branches())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 20, 20)
    seen = []
    with torch.inference_mode():
        y = opt(x)
        opt.register_forward_hook(lambda m, args, out: seen.append(out))
        assert torch.equal(opt(x), y)
    assert len(seen) == 1 and torch.equal(seen[0], y)


def test_many_threads_share_one_module() -> None:
    net = settle(Branches())
    opt = pycnn.optimize(net)
    inputs = [torch.randn(1 + i % 3, 3, 16 + i, 20) for i in range(8)]
    refs = [truth(net, x) for x in inputs]
    wrong: list[float] = []

    def work(i: int) -> None:
        with torch.inference_mode():
            for _ in range(20):
                e = error(opt(inputs[i]), refs[i])
                if e > 1e-5:
                    wrong.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_what_cannot_be_captured_runs_as_it_is() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y if y.sum() > 0 else -y

    net = settle(Decides())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(opt(x), net(x)) and torch.equal(opt(-x), net(-x))
        assert "as it is" in pycnn.explain(opt, x).fallbacks[0]
        with pytest.raises(NotImplementedError, match="strict"):
            pycnn.optimize(net, strict=True)(x)


def test_strict_names_each_op_and_its_module() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LPPool2d(2, 2), nn.Conv2d(4, 4, 1)))
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode(), pytest.raises(NotImplementedError, match=r"lp_pool2d in 1"):
        pycnn.optimize(net, strict=True)(x)
    assert error(fast(net, x), truth(net, x)) <= 1e-5


def test_other_dtypes_and_empty_batches_are_torchs() -> None:
    net = settle(conv_bn(3, 8))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        assert opt(torch.randn(0, 3, 8, 8)).shape == (0, 8, 8, 8)
        half = copy.deepcopy(net).double()
        x = torch.randn(1, 3, 8, 8, dtype=torch.double)
        assert torch.equal(pycnn.optimize(half)(x), half(x))


@pytest.mark.parametrize(
    "bad",
    [
        torch.randn(1, 4, 8, 8),
        torch.randn(3, 8),
        torch.randn(1, 3, 2, 2),
        torch.ones(1, 3, 8, 8, dtype=torch.int32),
    ],
)
def test_a_wrong_input_raises_what_the_model_raises(bad: Tensor) -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(1, 3, 8, 8))
        with pytest.raises(RuntimeError) as expected:
            net(bad)
        with pytest.raises(RuntimeError) as found:
            opt(bad)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("bad", [None, "resnet18", torch.zeros(1), nn.ReLU])
def test_a_non_module_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="must be a torch.nn.Module, got"):
        pycnn.optimize(bad)  # type: ignore[arg-type]


def test_a_bad_thread_count_is_refused() -> None:
    with pytest.raises(ValueError, match="threads=0"):
        pycnn.optimize(nn.ReLU(), threads=0)


class Tiles(nn.Module):
    """view(-1, 8, 4, 4): nothing at all where the map is 4x4, another tensor where it is larger."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).view(-1, 8, 4, 4))


@pytest.mark.parametrize("sizes", [(4, 8, 4, 12, 8), (8, 4, 8)])
def test_what_a_kernel_takes_is_decided_at_each_size(sizes: tuple[int, ...]) -> None:
    net = settle(Tiles())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for size in sizes:
            x = torch.randn(2, 3, size, size)
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_warmup_plans_ahead_and_refuses_what_is_no_shape() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()))
    fast = pycnn.optimize(net)
    fast.warmup((1, 3, 8, 8), [2, 3, 9, 9], torch.randn(1, 3, 5, 5), (torch.randn(1, 3, 6, 6),))
    assert len(fast.__dict__["_compiled"].match.program._plans) == 4
    for wrong, kind, message in (
        ("8", TypeError, "warmup: '8' is neither a shape nor a tensor"),
        ((1, 0, 3, 3), ValueError, r"shape \(1, 0, 3, 3\) has no elements"),
        (7, TypeError, "warmup: 7 is neither"),
    ):
        with pytest.raises(kind, match=message):
            fast.warmup(wrong)
    with pytest.raises(ValueError, match="training mode"):
        pycnn.optimize(net.train()).warmup((1, 3, 8, 8))
