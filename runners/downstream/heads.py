"""Networks for downstream tasks: the pretrained encoder with a head for classification or segmentation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from runners.train.mae import MAESize, MaskedAutoencoder

FEATURES = 8
"""Channels of the segmentation head at full resolution; each halving of the resolution doubles them."""


class Encoder(nn.Module):
    """The encoder of a masked autoencoder on whole crops, without its decoder.

    Args:
        mae: where the weights come from; they are shared, not copied.
    """

    def __init__(self, mae: MaskedAutoencoder) -> None:
        super().__init__()
        self.size = mae.size
        self.embed, self.blocks, self.norm = mae.embed, mae.blocks, mae.norm
        self.register_buffer("positions", mae.positions.clone(), persistent=False)

    def forward(self, crops: Tensor) -> list[Tensor]:
        """The tokens of crops (batch, D, H, W) after each block, each (batch, tokens, width); the last one normed."""
        tokens = self.embed(_patches(crops, self.size)) + self.positions
        states = []
        for block in self.blocks:
            tokens = block(tokens)
            states.append(tokens)
        return [*states[:-1], self.norm(states[-1])]


def _patches(crops: Tensor, size: MAESize) -> Tensor:
    """All patches of crops in row-major order, shape (batch, tokens, voxels)."""
    (depth, height, width), patch = size.grid, size.patch
    cut = crops.view(-1, depth, patch, height, patch, width, patch).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(len(crops), size.tokens, patch**3)


class ClassificationHead(nn.Module):
    """Attention pooling (Ilse 2018, 1802.04712) beside the mean of all tokens of a volume, then a linear layer.

    The tokens' channels are standardised first, as in the linear probes of He 2022: those of a pretrained encoder differ in
    scale by an order of magnitude.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, 1))
        self.out = nn.Linear(2 * width, classes)

    def forward(self, volumes: list[Tensor]) -> Tensor:
        """Logits (batch, classes) of volumes from all tokens of each, (n, width); n may differ."""
        normed = self.norm(torch.cat(volumes)).split([len(tokens) for tokens in volumes])
        return self.out(torch.stack([self._pooled(tokens) for tokens in normed]))

    def _pooled(self, tokens: Tensor) -> Tensor:
        weights = self.score(tokens).softmax(dim=0)
        return torch.cat([(weights * tokens).sum(dim=0), tokens.mean(dim=0)])


class TokenHead(nn.Module):
    """A linear probe of the last tokens: each gives the classes of the voxels of its own patch.

    Args:
        size: sizes of the encoder.
        classes: channels of the result, background included.
    """

    def __init__(self, size: MAESize, classes: int) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        self.norm = nn.BatchNorm1d(size.width, affine=False)
        self.out = nn.Linear(size.width, classes * size.patch**3)

    def forward(self, crops: Tensor, states: list[Tensor]) -> Tensor:
        """Logits (batch, classes, D, H, W) of crops from their tokens after each block; `crops` itself is not looked at."""
        (depth, height, width), patch = self.size.grid, self.size.patch
        found = self.out(self.norm(states[-1].flatten(0, 1)))
        cut = found.view(-1, depth, height, width, self.classes, patch, patch, patch).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return cut.reshape(-1, self.classes, *self.size.crop)


class SegmentationHead(nn.Module):
    """The decoder of UNETR (Hatamizadeh 2022, 2103.10504) from MONAI's blocks, for any patch that is a power of two.

    MONAI's UNETR itself is fixed to patches of 16 and 12 layers.

    Args:
        size: sizes of the encoder.
        classes: channels of the result, background included.
    """

    def __init__(self, size: MAESize, classes: int, features: int = FEATURES) -> None:
        super().__init__()
        from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock

        self.size, levels = size, levels_of(size.patch)
        channels = [features * 2**level for level in range(levels)]
        self.places = [max(0, round(size.depth * level / levels) - 1) for level in range(1, levels)]
        block = {"spatial_dims": 3, "kernel_size": 3, "norm_name": "instance", "res_block": True}
        widths = [*channels, size.width]

        def up(level: int) -> nn.Module:
            return UnetrUpBlock(
                in_channels=widths[level + 1], out_channels=widths[level], upsample_kernel_size=2, **block
            )

        self.skips = nn.ModuleList(
            UnetrPrUpBlock(
                in_channels=size.width,
                out_channels=channels[level],
                num_layer=levels - level - 1,
                stride=1,
                upsample_kernel_size=2,
                conv_block=True,
                **block,
            )
            for level in range(1, levels)
        )
        self.ups = nn.ModuleList(up(level) for level in range(1, levels))
        self.image = UnetrBasicBlock(in_channels=1, out_channels=features, stride=1, **block)
        self.last = up(0)
        self.out = UnetOutBlock(spatial_dims=3, in_channels=features, out_channels=classes)

    def forward(self, crops: Tensor, states: list[Tensor]) -> Tensor:
        """Logits (batch, classes, D, H, W) of crops (batch, D, H, W) from their tokens after each block."""
        found = self._grid(states[-1])
        for level in range(len(self.places), 0, -1):
            skip = self.skips[level - 1](self._grid(states[self.places[level - 1]]))
            found = self.ups[level - 1](found, skip)
        return self.out(self.last(found, self.image(crops[:, None])))

    def _grid(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *self.size.grid)


def levels_of(patch: int) -> int:
    """How often a patch is halved down to a voxel.

    Raises:
        ValueError: not a power of two from 4 on.
    """
    levels = round(math.log2(patch))
    if patch != 2**levels or levels < 2:
        raise ValueError(f"a segmentation head needs a patch that is a power of two from 4 on, not {patch}")
    return levels
