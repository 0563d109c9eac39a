"""Classify an image file and draw the probabilities beside it.

    python examples/classify.py                                  # a handwritten digit, with a network trained now
    python examples/classify.py cat.jpg --model resnet50 --weights resnet50.pth --labels names.txt

Needs `pip install 'pycnn[demo]'`; nothing is downloaded. Without an image, a LeNet learns scikit-learn's digits (a few
seconds) and reads one that it has not seen from the file digit.png beside the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import pycnn
from pycnn.demo.digits import load_digits, train

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def digit_network(path: Path) -> nn.Module:
    """A trained LeNet; writes a held-out digit to `path`."""
    torch.manual_seed(0)
    digits = load_digits()
    net = pycnn.create_model("lenet_like")
    train(net, digits, epochs=12)
    with torch.inference_mode():
        right = net(digits.test_x).argmax(1) == digits.test_y
    print(f"LeNet trained: {right.float().mean():.1%} of {len(right)} held-out digits are right")
    pixels = (digits.test_x[0, 0] + 1) * 127.5
    Image.fromarray(pixels.numpy().round().astype(np.uint8)).save(path)
    return net


def read(path: Path, size: tuple[int, int], grey: bool) -> Tensor:
    """The file as [1, c, h, w]: grey in [-1, 1], or colours standardised as ImageNet's networks expect them."""
    h, w = size
    image = Image.open(path).convert("L" if grey else "RGB").resize((w, h))
    x = torch.from_numpy(np.array(image)).float() / 255
    if grey:
        return (2 * x - 1)[None, None]
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]


def draw(path: Path, image: Path, names: list[str], shares: list[float]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    left.imshow(Image.open(image), cmap="gray")
    left.axis("off")
    right.barh(names[::-1], shares[::-1], color="#d1495b")
    right.set_xlim(0, 1)
    right.set_xlabel("probability")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", nargs="?", type=Path, help="default: a handwritten digit")
    parser.add_argument("--model", default="resnet50", help="of `pycnn list`, for an image given")
    parser.add_argument("--weights", type=Path, help="its .pth or .safetensors file")
    parser.add_argument("--labels", type=Path, help="names of the classes, one a line")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("classified.png"))
    args = parser.parse_args()
    if args.image is None:
        image = args.out.with_name("digit.png")
        net, size, grey = digit_network(image), (28, 28), True
    elif args.weights is None:
        parser.error("an image of your own needs --weights: an untrained network only guesses")
    else:
        image, grey = args.image, False
        net = pycnn.create_model(args.model, pretrained=args.weights)
        size = pycnn.registry.find_model(args.model).family.image_size
    fast = pycnn.optimize(net.eval())
    with torch.inference_mode():
        shares, classes = fast(read(image, size, grey))[0].softmax(0).topk(args.top)
    names = args.labels.read_text().splitlines() if args.labels else None
    labels = [names[i] if names else str(i) for i in classes.tolist()]
    for label, share in zip(labels, shares.tolist(), strict=True):
        print(f"{share:7.2%}  {label}")
    draw(args.out, image, labels, shares.tolist())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
