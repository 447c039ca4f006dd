"""AutoencoderKL as a list of layers that the tiles of one picture go through side by side, as if it were in one piece.

Two kinds of layer in Stable Diffusion's VAE look at the whole picture: group normalisation (arXiv 1803.08494), whose
mean and variance are over all positions, and the attention in the middle. All else are convolutions of bounded reach.
So a tile cut out with the margin that the layers ahead of it reach over holds exactly the picture's values, once the
shared quantities are known. Before each of those layers the tiles meet: all advance to it, each contributes what lies
in its own core, and only then do they go on.

What the tiles hold at a meeting is kept where it fits into `kept_bytes`; where it does not, they start again from the
last kept meeting. So a small allowance costs time, never exactness.

The attention reads every position of latents of up to `KEYS` (2048 x 2048 pixels of the picture). Of larger ones it
reads every second, third, ... row and column, the same for all tiles: no seams, and work that grows with the picture's
area, not with its square.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UpDecoderBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from seesr.errors import SeesrError
from seesr.tiling.geometry import Tile

KEYS = 65536
QUERIES = 1024
"""Most positions that the attention reads, and for how many it does so at once."""


@dataclass(frozen=True)
class State:
    """What a tile holds between two layers: `values`, (1, C, h, w), of `area`; `skip` waits to be added."""

    values: Tensor
    area: Tile
    skip: Tensor | None = None
    skip_area: Tile | None = None

    @property
    def bytes(self) -> int:
        return sum(t.nbytes for t in (self.values, self.skip) if t is not None)

    def compact(self) -> "State":
        """The same without the storage of what has been cut off."""
        skip = None if self.skip is None else self.skip.clone()
        return State(self.values.clone(), self.area, skip, self.skip_area)


class Layer:
    """One step of a tile. `scale`: by how much it changes the resolution."""

    scale = 1.0

    def margin(self, after: int) -> int:
        """Margin its input needs for its output to be right with a margin of `after`."""
        return after

    def __call__(self, state: State) -> State:
        raise NotImplementedError


class Meeting(Layer):
    """A layer that needs something of all tiles: `contribute` by each, then `settle`, and it can be called."""

    def contribute(self, core: Tensor, tile: Tile) -> None:
        """`core`, (1, C, h, w): the values of the tile without margin; `tile`: where it lies, at this resolution."""
        raise NotImplementedError

    def settle(self) -> None:
        raise NotImplementedError


class Convolution(Layer):
    """A convolution that keeps the resolution."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.reach = int(module.kernel_size[0]) // 2  # type: ignore[index]

    def margin(self, after: int) -> int:
        return after + self.reach

    def __call__(self, state: State) -> State:
        return State(self.module(state.values), state.area, state.skip, state.skip_area)


class Downsample(Layer):
    """3x3 with stride 2; output position i reads positions 2i to 2i + 2, padded below and to the right."""

    scale = 0.5

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def margin(self, after: int) -> int:
        return 2 * after + 2  # even, so that tiles stay on the grid

    def __call__(self, state: State) -> State:
        return State(self.module(state.values), state.area.scaled(0.5))


class Upsample(Layer):
    """Doubling by repetition, then 3x3."""

    scale = 2.0

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def margin(self, after: int) -> int:
        return (after + 2) // 2

    def __call__(self, state: State) -> State:
        return State(self.module(state.values), state.area.scaled(2))


class Keep(Layer):
    """Start of a residual block."""

    def __call__(self, state: State) -> State:
        return State(state.values, state.area, state.values, state.area)


class Add(Layer):
    """End of a residual block."""

    def __init__(self, shortcut: nn.Module | None, divisor: float) -> None:
        self.shortcut, self.divisor = shortcut, divisor

    def __call__(self, state: State) -> State:
        assert state.skip is not None
        assert state.skip_area is not None
        skip = cut(state.skip, state.skip_area, state.area)
        if self.shortcut is not None:
            skip = self.shortcut(skip)
        return State((skip + state.values) / self.divisor, state.area)


class Norm(Meeting):
    """Group normalisation over the whole picture, and the activation after it."""

    def __init__(self, norm: nn.GroupNorm, activation: Callable[[Tensor], Tensor] | None) -> None:
        self.norm, self.activation = norm, activation
        self.parts: list[tuple[int, Tensor, Tensor]] = []

    def contribute(self, core: Tensor, tile: Tile) -> None:
        groups = core.float().unflatten(1, (self.norm.num_groups, -1))  # (1, groups, C/groups, h, w)
        variance, mean = torch.var_mean(groups, (0, 2, 3, 4), correction=0)
        self.parts.append((core.shape[-2] * core.shape[-1], mean.cpu().double(), variance.cpu().double()))

    def settle(self) -> None:
        counts = torch.tensor([part[0] for part in self.parts], dtype=torch.float64)[:, None]
        means, variances = (torch.stack([part[i] for part in self.parts]) for i in (1, 2))  # type: ignore[misc]
        weights = counts / counts.sum()
        mean = (weights * means).sum(0)  # (groups,)
        variance = (weights * (variances + (means - mean).square())).sum(0)
        repeats = self.norm.num_channels // self.norm.num_groups
        device = self.norm.weight.device
        scale = (variance + self.norm.eps).rsqrt().repeat_interleave(repeats).to(device, torch.float32)
        self.factor = (self.norm.weight.float() * scale).view(1, -1, 1, 1)
        offset = mean.repeat_interleave(repeats).to(device, torch.float32) * self.factor.flatten()
        self.offset = (self.norm.bias.float() - offset).view(1, -1, 1, 1)

    def __call__(self, state: State) -> State:
        values = torch.addcmul(self.offset, state.values, self.factor).to(state.values.dtype)
        if self.activation is not None:
            values = self.activation(values)
        return State(values, state.area, state.skip, state.skip_area)


class Attend(Meeting):
    """Attention of every position to `KEYS` positions at most, spread evenly over the whole picture."""

    def __init__(self, attention: Any, height: int, width: int) -> None:
        self.attention = attention
        self.stride = 1
        while -(-height // self.stride) * -(-width // self.stride) > KEYS:
            self.stride += 1
        self.tokens: list[Tensor] = []

    def contribute(self, core: Tensor, tile: Tile) -> None:
        rows, columns = -tile.top % self.stride, -tile.left % self.stride
        self.tokens.append(core[..., rows :: self.stride, columns :: self.stride].flatten(2).mT)  # (1, n, C)

    def settle(self) -> None:
        tokens = torch.cat(self.tokens, 1)
        self.tokens.clear()
        self.keys, self.values = (
            self._heads(project(tokens)) for project in (self.attention.to_k, self.attention.to_v)
        )

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.attention.heads, -1)).transpose(1, 2)  # (1, heads, n, d)

    def __call__(self, state: State) -> State:
        queries = self._heads(self.attention.to_q(state.values.flatten(2).mT))
        seen = [F.scaled_dot_product_attention(part, self.keys, self.values) for part in queries.split(QUERIES, 2)]
        out = self.attention.to_out[0](torch.cat(seen, 2).transpose(1, 2).flatten(2))  # (1, h*w, C)
        values = out.mT.unflatten(2, state.values.shape[-2:])
        return State(values, state.area, state.skip, state.skip_area)


def cut(values: Tensor, area: Tile, wanted: Tile) -> Tensor:
    """The part `wanted` of values that cover `area`, both at their resolution."""
    top, left = wanted.top - area.top, wanted.left - area.left
    return values[..., top : top + wanted.height, left : left + wanted.width]


# ------------------------------------------------------------------------------------------------- the VAE's layers


def _residual_block(block: Any) -> Iterator[Layer]:
    yield Keep()
    yield Norm(block.norm1, block.nonlinearity)
    yield Convolution(block.conv1)
    yield Norm(block.norm2, block.nonlinearity)
    yield Convolution(block.conv2)
    yield Add(block.conv_shortcut, block.output_scale_factor)


def _middle(block: Any, height: int, width: int) -> Iterator[Layer]:
    yield from _residual_block(block.resnets[0])
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            yield Keep()
            yield Norm(attention.group_norm, None)
            yield Attend(attention, height, width)
            yield Add(None, attention.rescale_output_factor)
        yield from _residual_block(resnet)


def _end(coder: Any) -> Iterator[Layer]:
    yield Norm(coder.conv_norm_out, coder.conv_act)
    yield Convolution(coder.conv_out)


def encoder_layers(vae: AutoencoderKL, height: int, width: int) -> list[Layer]:
    """Pixels in [-1, 1] → moments of the posterior, for latents of `height` x `width`."""
    encoder: Any = vae.encoder
    layers: list[Layer] = [Convolution(encoder.conv_in)]
    for block in encoder.down_blocks:
        _check(block, DownEncoderBlock2D)
        for resnet in block.resnets:
            layers += _residual_block(resnet)
        layers += [Downsample(module) for module in block.downsamplers or ()]
    layers += [*_middle(encoder.mid_block, height, width), *_end(encoder)]
    return layers if vae.quant_conv is None else [*layers, Convolution(vae.quant_conv)]


def decoder_layers(vae: AutoencoderKL, height: int, width: int) -> list[Layer]:
    """Latents of `height` x `width`, divided by the scaling factor → pixels in [-1, 1]."""
    decoder: Any = vae.decoder
    layers: list[Layer] = [] if vae.post_quant_conv is None else [Convolution(vae.post_quant_conv)]
    layers += [Convolution(decoder.conv_in), *_middle(decoder.mid_block, height, width)]
    for block in decoder.up_blocks:
        _check(block, UpDecoderBlock2D)
        for resnet in block.resnets:
            layers += _residual_block(resnet)
        layers += [Upsample(module) for module in block.upsamplers or ()]
    return [*layers, *_end(decoder)]


def _check(block: nn.Module, known: type) -> None:
    if not isinstance(block, known):
        raise SeesrError(f"a VAE with {type(block).__name__} cannot be worked on in tiles; use smaller photos")


# ----------------------------------------------------------------------------------------------------- all the tiles


@torch.inference_mode()
def run_tiles(
    layers: list[Layer],
    tiles: list[Tile],
    height: int,
    width: int,
    factor: int,
    cut_out: Callable[[Tile], Tensor],
    kept_bytes: int,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[Tile, Tensor]]:
    """Take the tiles of a picture through `layers`; yields each with its result, (1, C, ...), without margin.

    Args:
        tiles: in latent pixels; they cover latents of `height` x `width` without overlap.
        factor: positions of the input along one side of a latent pixel.
        cut_out: area of the input → its values.
        kept_bytes: most that may be kept between meetings.
        progress: called with the units of work done and of all; a unit is a tile brought to a meeting or to the end.
    """
    margins = [0]
    for layer in reversed(layers):
        margins.insert(0, layer.margin(margins[0]))
    factors = [float(factor)]
    for layer in layers:
        factors.append(factors[-1] * layer.scale)

    def core(tile: Tile, i: int) -> Tile:
        return tile.scaled(factors[i])

    def area(tile: Tile, i: int) -> Tile:
        return core(tile, i).grown(margins[i], int(height * factors[i]), int(width * factors[i]))

    def advance(tile: Tile, state: State | None, start: int, end: int) -> State:
        if state is None:
            state = State(cut_out(area(tile, 0)), area(tile, 0))
        for i in range(start, end):
            state = layers[i](state)
            wanted = area(tile, i + 1)
            state = State(cut(state.values, state.area, wanted), wanted, state.skip, state.skip_area)
        return state

    kept: list[State | None] = [None] * len(tiles)
    kept_at, done = 0, 0
    meetings = [i for i, layer in enumerate(layers) if isinstance(layer, Meeting)]
    total = (len(meetings) + 1) * len(tiles)
    for i in meetings:
        meeting, keep = layers[i], False
        assert isinstance(meeting, Meeting)
        for n, tile in enumerate(tiles):
            state = advance(tile, kept[n], kept_at, i)
            meeting.contribute(cut(state.values, state.area, core(tile, i)), core(tile, i))
            if n == 0:
                keep = state.bytes * height * width <= kept_bytes * tile.height * tile.width
            if keep:
                kept[n] = state.compact()
            done += 1
            progress(done, total)
        if keep:
            kept_at = i
        meeting.settle()
    for n, tile in enumerate(tiles):
        state = advance(tile, kept[n], kept_at, len(layers))
        kept[n] = None
        done += 1
        progress(done, total)
        yield tile, state.values
