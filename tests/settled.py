"""Networks ready for a comparison, and its measure."""

from torch import nn


def settled(net):
    """The net with batch-norms as after some training, so that folding them wrongly shows."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.4, 2.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return net


def error(y, reference):
    """The project's measure of error, reference in fp64."""
    return float((y - reference).abs().max() / reference.abs().max())
