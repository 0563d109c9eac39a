"""`pycnn.summary`: the textbook's shape flows and table of stages, MACs, receptive fields, memory."""

import copy
import json

import pytest
import torch
from document import basic_cnn, vgg_block
from torch import nn

import pycnn
from pycnn.models.figures import figures


def conv(k=3, **options):
    return nn.Conv2d(2, 2, k, **options)


def fields(net, *shape):
    return [row.receptive_field for row in pycnn.summary(net, shape or (1, 2, 64, 64)).rows]


def test_shape_flow_of_the_basic_classifier():
    found = pycnn.summary(basic_cnn(), (5, 3, 64, 64))
    flow = [row.output for row in found.rows if row.kind not in ("Conv2d", "ReLU")]
    assert flow == [(5, 32, 32, 32), (5, 64, 16, 16), (5, 128, 1, 1), (5, 128), (5, 10)]
    assert [row.path for row in found.rows] == [str(i) for i in range(11)]
    assert found.inputs == ((5, 3, 64, 64),)


def test_resnet50_has_the_stages_of_the_textbook():
    found = pycnn.summary(pycnn.create_model("resnet50"), (2, 3, 224, 224))
    assert [(s.name, s.output, s.role) for s in found.stages] == [
        ("stem", (2, 64, 112, 112), "Early feature extraction"),
        ("stage 1", (2, 256, 56, 56), "Low-level features"),
        ("stage 2", (2, 512, 28, 28), "Mid-level features"),
        ("stage 3", (2, 1024, 14, 14), "Object parts"),
        ("stage 4", (2, 2048, 7, 7), "High-level semantics"),
        ("head", (2, 1000), "Class logits"),
    ]
    of = {row.path: row.stage for row in found.rows}
    assert of["conv1"] == "stem" and of["maxpool"] == "stage 1"
    assert of["layer2.0.conv1"] == "stage 2"  # at 56x56 still, in the block that strides
    assert of["layer4.2.relu"] == "stage 4" and of["avgpool"] == of["fc"] == "head"
    assert found.macs == 2 * 4_089_184_256
    assert found.parameters == sum(row.parameters for row in found.rows) == 25_557_032


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("small_cnn", {"stem": 32, "stage 1": 32, "stage 2": 16, "stage 3": 8}),
        ("vgg16", {"stem": 224, "stage 1": 112, "stage 2": 56, "stage 3": 28, "stage 4": 7}),
        ("convnext_tiny", {"stem": 56, "stage 1": 56, "stage 2": 28, "stage 3": 14, "stage 4": 7}),
        ("inception_v3", {"stem": 147, "stage 1": 71, "stage 2": 35, "stage 3": 17, "stage 4": 8}),
        ("efficientnet_b0", {"stem": 112, "stage 1": 56, "stage 2": 28, "stage 3": 14, "stage 4": 7}),
    ],
)  # fmt: skip
def test_stages_of_families(name, last):
    with torch.device("meta"):
        net = pycnn.create_model(name)
    size = pycnn.registry.find_model(name).input_size
    found = {s.name: s.output for s in pycnn.summary(net, (1, *size)).stages}
    assert {stage: shape[2] for stage, shape in found.items() if stage != "head"} == last
    assert list(found)[-1] == "head" and len(found["head"]) == 2


def test_a_network_of_maps_has_a_decoder():
    with torch.device("meta"):
        net = pycnn.create_model("unet")
    found = {s.name: s for s in pycnn.summary(net, (1, 1, 64, 64)).stages}
    assert list(found)[-2:] == ["decoder", "head"]
    assert found["stage 4"].output[2:] == (4, 4) and found["decoder"].output[2:] == (64, 64)
    assert found["head"].role == "Class logits of each pixel" and found["head"].layers == 1


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "densenet121", "googlenet", "shufflenet_v2_x1_0", "unet_resnet34"]
)  # fmt: skip
def test_macs_are_those_of_an_independent_count(name):
    with torch.device("meta"):
        net = pycnn.create_model(name)
    found = pycnn.summary(net, (1, *pycnn.registry.find_model(name).input_size))
    assert found.macs == sum(row.macs for row in found.rows) == figures(name).macs
    assert found.parameters == sum(p.numel() for p in net.parameters())
    unused = dict(net.named_parameters())
    assert found.parameters == sum(row.parameters for row in found.rows) + sum(
        unused[name].numel() for name in found.unused
    )
    assert bool(found.unused) == (name == "googlenet")  # its auxiliary heads


def test_attention_counts():
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.empty(1, 5, 8)
    found = pycnn.summary(net, x, x, x)
    # projections 4 * 5 * 8 * 8, scores and their use 2 * 5 * 5 * 8
    assert found.macs == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8


def test_receptive_fields_of_stacks_and_strides():
    same = {"padding": 1}
    assert fields(nn.Sequential(*(conv(**same) for _ in range(3)))) == [(3, 3), (5, 5), (7, 7)]
    vgg = pycnn.summary(vgg_block(2, 4, 3), (1, 2, 32, 32)).rows
    assert [r.receptive_field for r in vgg if r.kind == "Conv2d"] == [(3, 3), (5, 5), (7, 7)]
    assert fields(nn.Sequential(conv(stride=2), nn.MaxPool2d(3, 2), conv((1, 3)))) == [
        (3, 3), (7, 7), (7, 15),
    ]  # fmt: skip
    assert fields(nn.Sequential(conv(dilation=4), conv(dilation=(1, 2)))) == [(9, 9), (11, 13)]
    # of one output pixel of a transposed convolution: 3 taps, 2 apart, meet at most 2 pixels, 4 px apart
    up = nn.Sequential(conv(4, stride=4), nn.ConvTranspose2d(2, 2, 3, stride=2), conv())
    assert fields(up) == [(4, 4), (8, 8), (12, 12)]
    mixed = nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    assert fields(mixed) == [(3, 3), None, None, None]
    assert fields(nn.Sequential(conv(), nn.Flatten(), nn.Linear(2 * 14 * 14, 3)), 1, 2, 16, 16) == [
        (3, 3), (3, 3), None,
    ]  # fmt: skip


def measured_field(net, shape):
    """(h, w) of the patch that the gradient of one inner output pixel reaches."""
    x = torch.rand(shape, dtype=torch.float64).requires_grad_()
    y = net.double()(x)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    at = x.grad[0].abs().sum(0).nonzero()
    return tuple((at.max(0).values - at.min(0).values + 1).tolist())


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.b = nn.Conv2d(2, 4, 5, padding=2, stride=2)
        self.c = nn.Conv2d(4, 8, 3, padding=2, dilation=2)

    def forward(self, x):
        x = self.a(x) + self.b(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return nn.functional.pixel_shuffle(torch.cat([self.c(x), x], 1), 2)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(2, 4, 7, 2, 3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 1, 2, 2)),
        nn.Sequential(nn.Conv2d(2, 4, (3, 5), (2, 1)), nn.Conv2d(4, 4, 3, dilation=(1, 3), groups=2)),
        nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.Conv2d(4, 2, 3)),
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 8, 3), nn.PixelShuffle(2)),
        Branches(),
    ],
)  # fmt: skip
def test_receptive_fields_are_what_gradients_reach(net):
    found = pycnn.summary(net, (1, 2, 64, 64)).rows[-1].receptive_field
    assert found == measured_field(net, (1, 2, 64, 64))


def test_residuals_and_branches_take_the_maximum():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.gate = conv(5, padding=2), conv(1)

        def forward(self, x):
            return x + self.body(x) * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()

    rows = pycnn.summary(Gate(), (1, 2, 32, 32)).rows
    assert [(r.kind, r.receptive_field) for r in rows] == [
        ("Conv2d", (5, 5)), ("mean", None), ("Conv2d", None), ("sigmoid", None), ("mul", None), ("add", None),
    ]  # fmt: skip
    assert rows[-1].inputs == (-1, 4)


def test_memory():
    net = nn.Sequential(conv(padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(2 * 64, 3))
    found = pycnn.summary(net, (1, 2, 8, 8))
    assert [row.output_bytes for row in found.rows] == [512, 0, 0, 12]
    assert (found.input_bytes, found.activation_bytes, found.peak_bytes) == (512, 524, 512 + 524)
    assert found.parameter_bytes == sum(p.numel() * 4 for p in net.parameters())
    chain = nn.Sequential(conv(padding=1), conv(padding=1), conv(padding=1))
    assert (
        pycnn.summary(chain, (1, 2, 8, 8)).peak_bytes == 3 * 512
    )  # the input, one read, one written


def test_the_model_is_not_touched():
    net = pycnn.create_model("resnet18", num_classes=3).train()
    before, flags = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    attributes = [dict(vars(m)) for m in net.modules()]
    pycnn.summary(net, torch.rand(2, 3, 32, 32))
    assert [m.training for m in net.modules()] == flags
    after = net.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    for module, then in zip(net.modules(), attributes, strict=True):
        assert vars(module).keys() == then.keys()
        assert all(vars(module)[key] is value for key, value in then.items())


class LooksAtValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, other=None, scale=1):
        self.calls += 1
        y = self.conv(x) if float(x.sum()) > -1e9 else x
        return {"y": y * scale} if other is None else {"y": y, "other": other + 1}


def test_code_that_looks_at_values_runs_on_real_tensors():
    net = LooksAtValues()
    found = pycnn.summary(net, torch.zeros(1, 2, 8, 8), scale=2)
    assert [(row.path, row.kind, row.output) for row in found.rows if "conv" in row.path] == [
        ("conv", "Conv2d", (1, 2, 6, 6))
    ]
    assert "real tensors" in found.notes[0]
    assert net.calls == 0
    # a shape alone has no values: zeros stand in
    assert pycnn.summary(net, (1, 2, 8, 8)).rows == pycnn.summary(net, torch.zeros(1, 2, 8, 8)).rows


def test_several_inputs_and_what_optimize_returned():
    class Two(nn.Module):
        def forward(self, a, b):
            return torch.cat([a, b], 1)

    for inputs in (((1, 2, 4, 4), (1, 3, 4, 4)), ([(1, 2, 4, 4), (1, 3, 4, 4)],)):
        (row,) = pycnn.summary(Two(), *inputs).rows
        assert (row.kind, row.inputs, row.output) == ("concat", (-1, -2), (1, 5, 4, 4))
    net = pycnn.create_model("small_cnn").eval()
    assert pycnn.summary(pycnn.optimize(net), (1, 3, 32, 32)) == pycnn.summary(net, (1, 3, 32, 32))


def test_table_and_json():
    found = pycnn.summary(pycnn.create_model("small_cnn"), (1, 3, 32, 32))
    told = json.loads(found.to_json())
    assert told["rows"][0] == {
        "path": "features.0", "kind": "Conv2d", "window": "3×3", "inputs": [-1], "output": [1, 32, 32, 32],
        "stage": "stem", "parameters": 896, "macs": 884736, "receptive_field": [3, 3], "output_bytes": 131072,
    }  # fmt: skip
    assert told["rows"][-1]["receptive_field"] is None
    table = str(found)
    for text in (
        "features.16",
        "24×24",
        "Object parts",
        "141,354 parameters",
    ):
        assert text in table


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, (1, 2, 8, 8)), TypeError, "model must be a torch.nn.Module, got int"),
        ((conv(),), ValueError, "summary: no inputs; give a shape"),
        ((conv(), (1, 2, 0, 8)), ValueError, r"must be positive, got \[1, 2, 0, 8\]"),
        (
            (conv(), (1, 3, 8, 8)),
            ValueError,
            r"Conv2d does not run on \[1, 3, 8, 8\]: RuntimeError",
        ),
        ((conv(5), (1, 2, 4, 4)), ValueError, r"does not run on \[1, 2, 4, 4\]"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        pycnn.summary(*arguments)
