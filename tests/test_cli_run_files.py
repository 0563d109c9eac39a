"""`pycnn run` with files that are whole programs: as the network they were made of, and what does not go with one."""

import json

import numpy as np
import pytest
import torch
from pictures import model, picture, run, standardised
from PIL import Image

import pycnn


def exported(tmp_path, net, x, batch=True, name="mine.pt2"):
    """The file of a network exported for pictures of x's size, in batches of any size or of x's."""
    sizes = {0: torch.export.Dim("n", max=64)} if batch else None
    program = torch.export.export(
        net.eval(), (x,), dynamic_shapes=None if sizes is None else (sizes,)
    )
    torch.export.save(program, tmp_path / name)
    return tmp_path / name


def test_an_exported_program_runs_as_its_network_does(tmp_path):
    net, weights = model(tmp_path, "small_cnn", num_classes=4)
    for i in range(3):
        picture(tmp_path / f"{i}.png", seed=i)
    pictures = [tmp_path / f"{i}.png" for i in range(3)]
    file = exported(tmp_path, net, torch.randn(2, 3, 32, 32))
    labels = tmp_path / "labels.txt"
    labels.write_text("ant\nbee\ncat\ndog\n")
    asked = (*pictures, "--batch", 2, "--labels", labels, "--json")
    result = run(file, *asked)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    same = run("small_cnn", *asked, "--weights", weights, "--num-classes", 4)
    for mine, zoo in zip(json.loads(result.stdout), json.loads(same.stdout), strict=True):
        assert [c["label"] for c in mine["classes"]] == [c["label"] for c in zoo["classes"]]
        shares = [c["share"] for c in zoo["classes"]]
        assert [c["share"] for c in mine["classes"]] == pytest.approx(shares, rel=1e-5)


def test_an_exported_program_may_make_pictures(tmp_path):
    picture(tmp_path / "a.png", 24, 24)
    net = torch.nn.Conv2d(3, 5, 3, padding=1)
    file = exported(tmp_path, net, torch.randn(1, 3, 24, 24), batch=False)
    out = tmp_path / "masks"
    result = run(file, tmp_path / "a.png", "--task", "segmentation", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    classes = np.asarray(Image.open(out / "a.png"))
    x = standardised(
        torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1)[None] / 255
    )
    with torch.inference_mode():
        assert (torch.from_numpy(classes) == net(x.float()).argmax(1)[0]).float().mean() > 0.999


def test_what_does_not_go_with_an_exported_program_is_one_sentence(tmp_path):
    picture(tmp_path / "a.png", 8, 8)
    a = tmp_path / "a.png"
    one = exported(tmp_path, torch.nn.Conv2d(3, 5, 3), torch.randn(1, 3, 8, 8), False, "one.pt2")
    four = exported(tmp_path, torch.nn.Conv2d(4, 5, 3), torch.randn(1, 4, 8, 8), False, "four.pt2")
    rows = exported(tmp_path, torch.nn.Linear(4, 5), torch.randn(1, 4), False, "rows.pt2")
    (tmp_path / "bad.pt2").write_bytes(b"no archive")
    for arguments, sentence in (
        (
            (one, a, "--num-classes", 3),
            "one.pt2 is a whole program: --num-classes cannot change it",
        ),
        ((one, a, "--batch", 2), "one.pt2 was exported for batches of 1: --batch 1"),
        ((one, a, "--task", "detection"), "--task detection: one of classification"),
        (("small_cnn", a, "--task", "segmentation"), "--task is for .pt2, .pycnn files"),
        ((four, a), "four.pt2 takes 4"),
        ((rows, a), "rows.pt2 takes 1 inputs, run gives one batch of pictures"),
        ((tmp_path / "bad.pt2", a), "bad.pt2 is no program of torch.export"),
        ((tmp_path / "none.pt2", a), "no such file"),
    ):
        result = run(*arguments)
        assert result.exit_code != 0, arguments
        assert sentence in result.stderr.replace("\n", " "), result.stderr


def test_a_saved_network_runs_as_it_did(tmp_path):
    net, weights = model(tmp_path, "small_cnn", num_classes=4)
    fast = pycnn.optimize(net.eval())
    fast.warmup((1, 3, 32, 32))
    pycnn.save(fast, tmp_path / "mine.pycnn")
    for i in range(3):
        picture(tmp_path / f"{i}.png", seed=i)
    pictures = [tmp_path / f"{i}.png" for i in range(3)]
    result = run(tmp_path / "mine.pycnn", *pictures, "--batch", 2, "--json")
    assert result.exit_code == 0, result.stderr
    asked = (*pictures, "--batch", 2, "--weights", weights, "--num-classes", 4, "--json")
    for mine, zoo in zip(
        json.loads(result.stdout), json.loads(run("small_cnn", *asked).stdout), strict=True
    ):
        assert [c["label"] for c in mine["classes"]] == [c["label"] for c in zoo["classes"]]
        shares = [c["share"] for c in zoo["classes"]]
        assert [c["share"] for c in mine["classes"]] == pytest.approx(shares, rel=1e-5)
    (tmp_path / "bad.pycnn").write_bytes(b"nothing")
    result = run(tmp_path / "bad.pycnn", pictures[0])
    assert result.exit_code != 0
    assert "bad.pycnn is no network that pycnn.save wrote" in result.stderr.replace("\n", " ")
