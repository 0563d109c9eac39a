"""`pycnn run`: pictures made here, what torch gives on them, and one sentence for what cannot be run."""

import json

import numpy as np
import pytest
import torch
from pictures import model, picture, run, standardised
from PIL import Image


def test_a_folder_is_classified_as_torch_does(tmp_path):
    net, weights = model(tmp_path, "small_cnn", num_classes=4)
    folder = tmp_path / "pictures"
    folder.mkdir()
    x = [picture(folder / f"{i}.png", seed=i) for i in range(3)]
    (folder / "notes.txt").write_text("no picture")
    labels = tmp_path / "labels.txt"
    labels.write_text("ant\nbee\ncat\ndog\n")
    asked = ("small_cnn", folder, "--weights", weights, "--num-classes", 4, "--labels", labels)
    result = run(*asked, "--top-k", 2, "--batch", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert [row["image"] for row in found] == [str(folder / f"{i}.png") for i in range(3)]
    with torch.inference_mode():
        truth = net.double()(standardised(torch.cat(x))).softmax(1).topk(2)
    for row, shares, classes in zip(found, truth.values, truth.indices, strict=True):
        assert [c["class"] for c in row["classes"]] == classes.tolist()
        assert [c["label"] for c in row["classes"]] == [
            ("ant", "bee", "cat", "dog")[i] for i in classes
        ]
        assert [c["share"] for c in row["classes"]] == pytest.approx(shares.tolist(), rel=1e-4)
    said = run(*asked, "--top-k", 1).stdout.splitlines()
    assert said[0] == str(folder / "0.png") and said[1].endswith(found[0]["classes"][0]["label"])


def test_a_classifier_sees_the_middle_and_mean_and_std_can_be_given(tmp_path):
    net, weights = model(tmp_path, "small_cnn")
    x = picture(tmp_path / "wide.png", 32, 96)[..., 32:64]
    asked = ("small_cnn", tmp_path / "wide.png", "--weights", weights, "--top-k", 10, "--json")
    for options, truth in (
        ((), standardised(x)),
        (("--mean", "none", "--std", "none"), x),
        (
            ("--mean", "0.5", "--std", "0.5,0.25,1"),
            (x - 0.5) * torch.tensor([2, 4, 1]).view(3, 1, 1),
        ),
    ):
        found = json.loads(run(*asked, *options).stdout)[0]["classes"]
        shares = torch.zeros(10, dtype=torch.float64)
        for row in found:
            shares[row["class"]] = row["share"]
        with torch.inference_mode():
            torch.testing.assert_close(
                shares, net.double()(truth)[0].softmax(0), rtol=1e-4, atol=1e-6
            )


def test_segmentation_writes_pictures_of_class_numbers(tmp_path):
    net, weights = model(tmp_path, "unet", num_classes=3)
    x = picture(tmp_path / "cell.png", 32, 48, channels=1)
    asked = ("unet", tmp_path / "cell.png", "--weights", weights, "--num-classes", 3)
    result = run(*asked, "--out", tmp_path / "masks", "--json")
    assert result.exit_code == 0, result.stderr
    written = np.array(Image.open(tmp_path / "masks/cell.png"))
    with torch.inference_mode():
        logits = net.double()(x)[0]
    best = logits.topk(2, dim=0).values
    sure = best[0] - best[1] > 1e-3 * logits.abs().max()
    assert sure.float().mean() > 0.9
    assert torch.equal(torch.from_numpy(written)[sure].long(), logits.argmax(0)[sure])
    (record,) = json.loads(result.stdout)
    assert record["picture"] == str(tmp_path / "masks/cell.png")
    assert record["classes"][0]["class"] == np.bincount(written.ravel()).argmax()
    assert sum(row["share"] for row in record["classes"]) == pytest.approx(1)


def test_restoration_writes_what_torch_gives_and_pictures_keep_their_sizes(tmp_path):
    net, weights = model(tmp_path, "dncnn")
    sizes = {"a": (24, 40), "b": (24, 40), "c": (17, 9)}
    x = {k: picture(tmp_path / f"{k}.png", *s, 1, seed=i) for i, (k, s) in enumerate(sizes.items())}
    paths = [tmp_path / f"{name}.png" for name in sizes]
    result = run("dncnn", *paths, "--weights", weights, "--batch", 4, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3
    for name, image in x.items():
        with torch.inference_mode():
            truth = net.double()(image)[0, 0].clamp(0, 1) * 255
        written = torch.from_numpy(np.array(Image.open(tmp_path / f"out/{name}.png"))).double()
        assert (written - truth).abs().max() <= 0.51
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]


def test_super_resolution_runs_on_its_own_range_of_values(tmp_path):
    net, weights = model(tmp_path, "edsr_baseline_x2")
    x = picture(tmp_path / "small.png", 8, 12)
    result = run(
        "edsr_baseline_x2", tmp_path / "small.png", "--weights", weights, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.stderr
    written = torch.from_numpy(np.array(Image.open(tmp_path / "out/small.png"))).double()
    assert written.shape == (16, 24, 3)
    with torch.inference_mode():
        truth = net.double()(x * 255)[0].clamp(0, 255).permute(1, 2, 0)
    assert (written - truth).abs().max() <= 0.6


def test_grey_pictures_of_8_and_16_bits_and_jpegs_are_read(tmp_path):
    _, weights = model(tmp_path, "small_cnn")
    pixels = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) // 4
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(pixels * np.uint16(257)).save(tmp_path / "16.png")
    Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(tmp_path / "c.jpg", quality=95)
    names = ("8.png", "16.png", "c.jpg")
    result = run("small_cnn", *(tmp_path / n for n in names), "--weights", weights, "--json")
    grey, deep, jpeg = (
        {c["class"]: c["share"] for c in row["classes"]} for row in json.loads(result.stdout)
    )
    assert deep == pytest.approx(grey, rel=1e-4)
    assert jpeg == pytest.approx(grey, rel=0.1)


def test_an_untrained_network_is_said_to_be_one(tmp_path):
    picture(tmp_path / "x.png")
    result = run("small_cnn", tmp_path / "x.png", "--top-k", 1)
    assert result.exit_code == 0
    assert "small_cnn is untrained" in result.stderr and len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("resnet81", "x.png"), "unknown model 'resnet81': did you mean"),
        (("small_cnn", "missing.png"), "there is no file missing.png"),
        (("small_cnn", "empty"), "there is no .png, .jpg, .jpeg file in the folder empty"),
        (("small_cnn", "text.png"), "text.png is not a picture that pillow can read"),
        (("small_cnn", "half.png"), "half.png cannot be read to its end"),
        (("small_cnn", "alpha.png"), "alpha.png has 4 channels (RGBA), small_cnn takes 3, or grey"),
        (("dncnn", "x.png", "--out", "o"), "x.png has 3 channels (RGB), dncnn takes 1"),
        (("dncnn", "grey.png"), "dncnn makes pictures: say where to with --out FOLDER"),
        (("dncnn", "grey.png", "--out", "."), "grey.png is one of the pictures to read"),
        (("dncnn", "grey.png", "sub/grey.png", "--out", "o"), "would both be written to o/grey.png"),
        (("small_cnn", "x.png", "--out", "o"), "small_cnn is a classifier, which writes nothing"),
        (("small_cnn", "x.png", "--labels", "two.txt"), "two.txt names 2 classes, small_cnn has 10"),
        (("small_cnn", "x.png", "--mean", "a,b"), "--mean a,b: numbers with commas between them"),
        (("small_cnn", "x.png", "--std", "1,2"), "--std 1,2: 2 numbers for 3 channels"),
        (("small_cnn", "x.png", "--std", "0"), "--std 0: must be positive"),
        (("small_cnn", "x.png", "--weights", "list.pth"), "list.pth holds a list"),
        (("small_cnn", "x.png", "--weights", "no.pth"), "there is no file no.pth"),
        (("retinanet_resnet50_fpn", "x.png"), "retinanet_resnet50_fpn is for detection"),
        (("unet", "grey.png", "--size", "4", "--out", "o"), "unet cannot run on pictures of 4x4"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_sentence(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "sub").mkdir()
    picture(tmp_path / "x.png")
    picture(tmp_path / "grey.png", channels=1)
    picture(tmp_path / "sub/grey.png", channels=1)
    picture(tmp_path / "alpha.png", channels=4)
    (tmp_path / "half.png").write_bytes((tmp_path / "x.png").read_bytes()[:1500])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "two.txt").write_text("a\nb\n")
    torch.save([1], tmp_path / "list.pth")
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("pycnn: ") and sentence in last
    assert not list(tmp_path.glob("o/*"))


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    result = run("small_cnn", tmp_path)
    assert result.exit_code == 1
    assert "pip install 'pycnn[run]'" in result.stderr
