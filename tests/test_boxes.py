"""RetinaNet's boxes against torchvision's own post-processing, and the suppression it rests on against a plain one."""

import pytest
import torch
from torchvision_stub import models
from twins import randomise
from twins_pixels import retinanet

import pycnn
from pycnn.models.boxes import anchors, batched_nms


def random_boxes(n):
    corners = torch.rand(n, 2) * 40
    return torch.cat([corners, corners + torch.rand(n, 2) * 30], dim=1)


def overlap(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_suppression_is_the_greedy_one_within_each_class(threshold):
    boxes, scores, labels = random_boxes(80), torch.rand(80), torch.randint(0, 3, (80,))
    kept = []
    for i in sorted(range(80), key=lambda i: -scores[i]):
        rivals = [j for j in kept if labels[j] == labels[i]]
        if all(overlap(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in rivals):
            kept.append(i)
    assert len(kept) > 3
    assert batched_nms(boxes, scores, labels, threshold).tolist() == kept


def test_suppression_of_nothing_and_of_equals():
    none = batched_nms(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.long), 0.5)
    assert none.tolist() == []
    same = torch.tensor([[0.0, 0, 4, 4]]).expand(3, 4)
    assert batched_nms(same, torch.tensor([0.1, 0.9, 0.9]), torch.zeros(3), 0.5).tolist() == [1]


@pytest.mark.parametrize("size", [(64, 96), (161, 200)])
def test_detections_are_torchvisions(size, monkeypatch):
    net = pycnn.create_model("retinanet_resnet50_fpn", num_classes=5).eval()
    randomise(net)
    with torch.no_grad():
        net.head.classification_head.cls_logits.weight.mul_(0.1)  # probabilities of all sizes
        x = torch.randn(2, 3, *size)
        outputs = net(x)
        quick = pycnn.optimize(net)(x)
    plain = retinanet(5).eval()
    plain.load_state_dict(net.state_dict())
    with torch.no_grad():
        maps = list(plain.backbone(x).values())
    image = models.detection.image_list.ImageList(x, [size] * 2)
    cells = plain.anchor_generator(image, maps)
    counts = [9 * y.shape[2] * y.shape[3] for y in maps]
    for mine, theirs in zip(anchors(size, range(3, 8)), cells[0].split(counts), strict=True):
        assert torch.equal(mine, theirs)
    boxes = models.detection.retinanet.box_ops
    monkeypatch.setattr(boxes, "batched_nms", batched_nms)  # its compiled one is missing here
    split = {key: y.split(counts, dim=1) for key, y in outputs.items()}
    expected = plain.postprocess_detections(split, [c.split(counts) for c in cells], [size] * 2)
    found = net.detections(outputs, size)
    assert len(found) == 2
    for mine, theirs in zip(found, expected, strict=True):
        assert 10 < len(mine.boxes) == len(theirs["boxes"])
        assert torch.equal(mine.labels, theirs["labels"])
        torch.testing.assert_close(mine.scores, theirs["scores"])
        torch.testing.assert_close(mine.boxes, theirs["boxes"], rtol=1e-5, atol=1e-3)
    strict = net.detections(outputs, size, score_threshold=0.9, per_image=3)
    assert all(len(b.boxes) <= 3 and bool((b.scores > 0.9).all()) for b in strict)
    for mine, fast in zip(found, net.detections(quick, size), strict=True):
        torch.testing.assert_close(mine.scores[:10], fast.scores[:10], rtol=1e-3, atol=1e-4)


def test_older_keys_are_renamed():
    net = pycnn.create_model("retinanet_resnet50_fpn", num_classes=5)
    old = {}
    for key, value in net.state_dict().items():
        parts = key.split(".")
        if parts[0] == "head" and parts[2] == "conv":
            key = ".".join([*parts[:3], str(2 * int(parts[3])), parts[5]])
        if parts[1] == "fpn" and parts[2] != "extra_blocks":
            key = ".".join([*parts[:4], parts[5]])
        old[key] = value + 1 if value.is_floating_point() else value
    assert "head.regression_head.conv.6.bias" in old and "backbone.fpn.inner_blocks.2.bias" in old
    loaded = pycnn.create_model("retinanet_resnet50_fpn", num_classes=5, pretrained=old)
    for key, value in net.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(loaded.state_dict()[key], value + 1)
