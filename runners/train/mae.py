"""A lean 3D masked autoencoder (He 2022, 2111.06377).

The encoder sees visible patches only. The decoder works on tokens in shuffled order (visible first, hidden after):
attention does not care for order, positions travel with the tokens, and no gather or scatter over the full grid is
needed. Its last block computes hidden tokens alone, for nothing reads the others. The target is the raw normalised
intensity, which is what makes losses comparable across domains.

What is not a matrix product is memory traffic, so each crop is read once, patch by patch, straight from its voxels,
and the loss keeps one array of errors for its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixlang.documents import ModelSizes


@dataclass(frozen=True)
class MAESize:
    """The sizes of a masked autoencoder; `crop` and `patch` in voxels."""

    crop: tuple[int, int, int]
    patch: int
    mask_ratio: float
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int

    @classmethod
    def of(cls, model: ModelSizes, crop: Sequence[int]) -> MAESize:
        """The sizes in a plan's `training` section."""
        return cls(crop=(crop[0], crop[1], crop[2]), **model)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along each axis."""
        depth, height, width = (edge // self.patch for edge in self.crop)
        return depth, height, width

    @property
    def tokens(self) -> int:
        """Patches in a crop."""
        return math.prod(self.grid)

    @property
    def visible(self) -> int:
        """Patches the encoder sees."""
        return self.tokens - round(self.tokens * self.mask_ratio)


def sincos_positions(grid: Sequence[int], width: int) -> Tensor:
    """Fixed sine-cosine positions, shape (tokens, width), with wavelengths spread over the grid there is.

    Along each axis of g patches the frequencies run geometrically from pi (wavelength 2 patches) to pi / g. The usual
    temperature of 10000 would leave most channels constant on the short grids of 3D crops. Channels that do not
    divide into three axes of sine and cosine stay zero.
    """
    count = width // 6
    axes = []
    for size in grid:
        exponents = torch.linspace(0, 1, count, dtype=torch.float64)
        angles = torch.arange(size, dtype=torch.float64)[:, None] * (math.pi * float(size) ** -exponents)[None]
        axes.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    mesh = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    table = torch.cat([axes[axis][index.reshape(-1)] for axis, index in enumerate(mesh)], dim=1)
    return functional.pad(table, (0, width - table.shape[1])).float()


class Block(nn.Module):
    """A pre-norm transformer block with fused attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, skip: int = 0) -> Tensor:
        """Tokens in, tokens out, shape (batch, tokens, width); the first `skip` are attended to but not computed."""
        batch, count, width = tokens.shape
        heads = (batch, -1, self.heads, width // self.heads)
        normed = self.norm1(tokens)
        if skip:
            query, rest = self.qkv.weight.tensor_split([width])
            bias, others = self.qkv.bias.tensor_split([width])
            query = functional.linear(normed[:, skip:], query, bias).view(heads)
            key, value = functional.linear(normed, rest, others).view(batch, count, 2, *heads[2:]).unbind(2)
            tokens = tokens[:, skip:]
        else:
            query, key, value = self.qkv(normed).view(batch, count, 3, *heads[2:]).unbind(2)
        attended = functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (query, key, value)))
        tokens = tokens + self.out(attended.transpose(1, 2).reshape(tokens.shape))
        return tokens + self.mlp(self.norm2(tokens))


class _SquaredError(torch.autograd.Function):
    """Mean squared error over the voxels that exist, holding one array from the forward pass to its gradient."""

    @staticmethod
    def forward(ctx: Any, predicted: Tensor, target: Tensor, padded: bool) -> Tensor:
        """Errors of shape (batch,) of two arrays of shape (batch, tokens, voxels); `target` is overwritten."""
        count: Any = target[0].numel()
        if padded:
            count = target.isfinite().sum(dim=(1, 2)).clamp(min=1)
        error = target.sub_(predicted)
        if padded:
            error.nan_to_num_(0.0)
        ctx.save_for_backward(error)
        ctx.scale, ctx.dtype = 2.0 / count, predicted.dtype
        return torch.linalg.vector_norm(error, dim=(1, 2)).square() / count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both arrays, which differ in sign alone; the error is overwritten."""
        (error,) = ctx.saved_tensors
        slope = error.mul_((-ctx.scale * gradient)[:, None, None]).to(ctx.dtype)
        return slope, -slope if ctx.needs_input_grad[1] else None, None


class MaskedAutoencoder(nn.Module):
    """Predicts the hidden patches of 3D crops from the visible ones."""

    def __init__(self, size: MAESize) -> None:
        super().__init__()
        self.size = size
        voxels = size.patch**3
        self.embed = nn.Linear(voxels, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)
        self.decoder_embed = nn.Linear(size.width, size.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(size.decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(size.decoder_width, size.decoder_heads) for _ in range(size.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(size.decoder_width)
        self.predict = nn.Linear(size.decoder_width, voxels)
        self.register_buffer("lines", _lines(size), persistent=False)
        self.register_buffer("positions", sincos_positions(size.grid, size.width), persistent=False)
        self.register_buffer("decoder_positions", sincos_positions(size.grid, size.decoder_width), persistent=False)
        self.apply(_initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def patches(self, crops: Tensor, tokens: Tensor) -> Tensor:
        """The patches of crops that some tokens stand for, shape (batch, n, voxels).

        Args:
            crops: shape (batch, D, H, W).
            tokens: shape (batch, n); tokens count in row-major order over the grid.
        """
        lines = crops.reshape(-1, self.size.patch)
        return lines.index_select(0, self._rows(tokens)).view(*tokens.shape, self.size.patch**3)

    def _rows(self, tokens: Tensor) -> Tensor:
        """Where the patches of tokens lie in a batch of crops, as patch^2 runs of voxels each."""
        each = math.prod(self.size.crop) // self.size.patch
        first = torch.arange(len(tokens), device=tokens.device, dtype=torch.int32) * each
        return (self.lines[tokens] + first[:, None, None]).reshape(-1)

    def reconstruct(self, crops: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Crops with their hidden patches as predicted, and which voxels those are; both of shape (batch, D, H, W)."""
        shown, hidden = order.tensor_split([self.size.visible], dim=1)
        predicted = self._predict(self.patches(crops, shown).nan_to_num(0.0), order)
        output, mask = crops.clone(), torch.zeros_like(crops, dtype=torch.bool)
        rows = self._rows(hidden)
        output.view(-1, self.size.patch)[rows] = predicted.reshape(-1, self.size.patch).to(output.dtype)
        mask.view(-1, self.size.patch)[rows] = True
        return output, mask

    def forward(self, crops: Tensor, order: Tensor, padded: bool = False) -> Tensor:
        """The reconstruction loss of each crop: mean squared error over the voxels of its hidden patches.

        Args:
            crops: normalised intensities, shape (batch, D, H, W); voxels that do not exist are NaN.
            order: an order of the tokens for each crop, shape (batch, tokens); the first `visible` are shown.
            padded: whether any voxel may be NaN; such voxels are shown as 0 and never scored.

        Returns:
            Shape (batch,).
        """
        shown, hidden = order.tensor_split([self.size.visible], dim=1)
        visible = self.patches(crops, shown)
        predicted = self._predict(visible.nan_to_num(0.0) if padded else visible, order)
        return _SquaredError.apply(predicted, self.patches(crops, hidden), padded)

    def encode(self, patches: Tensor, where: Tensor) -> Tensor:
        """Features of patches, shape (batch, n, width).

        Args:
            patches: shape (batch, n, voxels).
            where: the token each patch is, shape (batch, n).
        """
        tokens = self.embed(patches) + self.positions[where]
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _predict(self, shown: Tensor, order: Tensor) -> Tensor:
        """Predictions for the hidden patches, in the order they are listed."""
        count = shown.shape[1]
        features = self.decoder_embed(self.encode(shown, order[:, :count]))
        masked = self.mask_token.to(features.dtype).expand(len(order), order.shape[1] - count, -1)
        tokens = torch.cat([features, masked], dim=1) + self.decoder_positions[order]
        *blocks, last = self.decoder_blocks
        for block in blocks:
            tokens = block(tokens)
        return self.predict(self.decoder_norm(last(tokens, skip=count)))


def _lines(size: MAESize) -> Tensor:
    """Which runs of `patch` voxels along the last axis make up each token's patch, shape (tokens, patch^2)."""
    depth, height, width = size.grid
    runs = torch.arange(math.prod(size.crop) // size.patch, dtype=torch.int32)
    cut = runs.view(depth, size.patch, height, size.patch, width).permute(0, 2, 4, 1, 3)
    return cut.reshape(size.tokens, size.patch**2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def scored(model: MaskedAutoencoder, crops: Tensor, order: Tensor) -> Tensor:
    """Whether anything of each crop is scored, shape (batch,): of a tiny volume all hidden voxels may be padding."""
    hidden = model.patches(crops, order[:, model.size.visible :])
    return hidden.isfinite().flatten(1).any(dim=1)


def mean_loss(model: MaskedAutoencoder, crops: Tensor, order: Tensor) -> Tensor:
    """The loss of predicting each crop's mean visible intensity: what a run on the initial plateau reaches."""
    visible, hidden = (model.patches(crops, part) for part in order.tensor_split([model.size.visible], dim=1))
    level = visible.nanmean(dim=(1, 2), keepdim=True).nan_to_num(0.0)
    return (hidden - level).square().nanmean(dim=(1, 2)).nan_to_num(0.0)
