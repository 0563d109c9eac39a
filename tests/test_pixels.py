"""What the image-to-image networks promise beyond being their references."""

import pytest
import torch

import pycnn
from pycnn.blocks import AttentionBlock

TINY = {"channels": (8, 16), "attention": (False, True), "groups": 4, "head_width": 8}


def test_a_time_step_is_an_int_or_a_tensor_of_one_or_n():
    net = pycnn.create_model("diffusion_unet", in_channels=1, **TINY).eval()
    x = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        y = net(x, 7)
        assert torch.equal(net(x, torch.tensor(7)), y)
        assert torch.equal(net(x, torch.tensor([7, 7, 7])), y)
        other = net(x, torch.tensor([7, 8, 7]))
    assert torch.equal(other[0], y[0]) and not torch.allclose(other[1], y[1])
    with pytest.raises(RuntimeError):
        net(x, torch.tensor([7, 8]))


def test_optimised_diffusion_follows_the_time_step():
    net = pycnn.create_model("diffusion_unet", in_channels=1, **TINY).eval()
    fast = pycnn.optimize(net)
    x = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        for t in (torch.tensor([3]), torch.tensor([800]), torch.tensor([3, 40])):
            torch.testing.assert_close(fast(x, t), net(x, t), rtol=1e-4, atol=1e-4)


def test_older_attention_keys_are_renamed():
    net = pycnn.create_model("diffusion_unet", **TINY)
    names = {"to_q": "query", "to_k": "key", "to_v": "value"}
    old = {}
    for key, value in net.state_dict().items():
        key = key.replace("to_out.0", "proj_attn")
        for new, before in names.items():
            key = key.replace(new, before)
        old[key] = value
    assert "mid_block.attentions.0.proj_attn.bias" in old
    loaded = pycnn.create_model("diffusion_unet", pretrained=old, **TINY)
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_bad_sizes_are_one_sentence():
    with pytest.raises(ValueError, match="2 levels of channels, 1 of attention"):
        pycnn.create_model("diffusion_unet", **{**TINY, "attention": (True,)})
    with pytest.raises(ValueError, match="head_width=5 does not divide 16"):
        AttentionBlock(16, 5, groups=4)
    with pytest.raises(ValueError, match="depth=2 must be at least 3"):
        pycnn.create_model("dncnn", depth=2)
    for scale in (1, 5, 6):
        with pytest.raises(ValueError, match=f"scale={scale} is neither 3 nor a power of 2"):
            pycnn.create_model("edsr_baseline_x2", scale=scale)


def test_options_of_the_restoration_networks():
    with torch.no_grad():
        x = torch.rand(2, 2, 6, 7)
        large = pycnn.create_model("edsr_baseline_x2", in_channels=2, depth=2, scale=8).eval()
        assert large(x).shape == (2, 2, 48, 56)
        scaled = pycnn.create_model("edsr_baseline_x2", depth=1, block_scale=0.0).eval()
        plain = pycnn.create_model("edsr_baseline_x2", depth=0).eval()
        kept = {k.replace("body.1.", "body.0."): v for k, v in scaled.state_dict().items()}
        plain.load_state_dict({k: v for k, v in kept.items() if k in plain.state_dict()})
        x = torch.rand(1, 3, 6, 7)
        torch.testing.assert_close(scaled(x), plain(x))
    folded = pycnn.create_model("dncnn", batch_norm=False)
    assert [k for k in folded.state_dict() if k.endswith("weight")][:3] == [
        f"model.{i}.weight" for i in (0, 2, 4)
    ]  # the keys of KAIR's files
