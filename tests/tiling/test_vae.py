"""Autoencoders in tiles give what they give in one piece, whatever is kept between the tiles' meetings."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from seesr import SeesrError
from seesr.models.autoencoder import Autoencoder
from seesr.tiling import vae_layers
from seesr.tiling.geometry import LATENT_FACTOR
from seesr.tiling.vae import decode, decoder_margin, encode, encoder_margin

HEIGHT, WIDTH = 37, 21  # latent pixels


def ignore(done: int, total: int) -> None:
    assert 0 < done <= total


def kl() -> AutoencoderKL:
    """Stable Diffusion's VAE with fewer channels; weights such that every layer, the attention too, matters."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
    )
    for name, parameter in vae.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.3)
    return vae.eval()


def folded() -> Autoencoder:
    vae = Autoencoder(latent_channels=4, channels=(6, 8), encoder_blocks=(1, 1), decoder_blocks=(1, 2))
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.2)
    return vae.eval()


@torch.inference_mode()
def there_and_back(vae, tile: int, kept_bytes: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    steps = torch.linspace(-1, 1, WIDTH * LATENT_FACTOR)  # tiles differ in mean and variance
    picture = steps + 0.3 * steps * torch.randn(1, 3, HEIGHT * LATENT_FACTOR, WIDTH * LATENT_FACTOR)
    latents = encode(vae, lambda area: area.of(picture), HEIGHT, WIDTH, tile, kept_bytes, ignore)
    given = torch.randn(1, vae.config.latent_channels, HEIGHT, WIDTH)  # not those of the picture: their own comparison
    given *= 0.1 + torch.linspace(0, 2, WIDTH)
    decoded = torch.full((1, 3, *(side * LATENT_FACTOR for side in (HEIGHT, WIDTH))), torch.nan)
    for place, values in decode(vae, given, tile, kept_bytes, ignore):
        place.of(decoded, LATENT_FACTOR).copy_(values)
    return latents, decoded


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 2e-5 * b.abs().max())


@pytest.mark.parametrize("make", [kl, folded])
def test_tiles_give_the_picture_of_the_whole(make) -> None:
    vae = make()
    whole = there_and_back(vae, 0)
    for tile, kept_bytes in ((8, 0), (8, 10**9), (16, 400_000), (7, 0)):
        for tiled, wanted in zip(there_and_back(vae, tile, kept_bytes), whole):
            assert same(tiled, wanted), (tile, kept_bytes)


def test_statistics_and_attention_are_those_of_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: statistics of the tiles alone, or attention that reads less, give another picture."""
    vae = kl()
    whole = there_and_back(vae, 0)
    monkeypatch.setattr(vae_layers, "KEYS", 100)
    fewer = there_and_back(vae, 8)
    assert not same(fewer[0], whole[0])
    assert (fewer[1] - whole[1]).abs().mean() < 0.1 * whole[1].std()
    monkeypatch.undo()
    monkeypatch.setattr(vae_layers.Norm, "settle", lambda self: None)
    monkeypatch.setattr(vae_layers.Norm, "__call__", own_statistics)
    assert not same(there_and_back(vae, 8)[1], whole[1])


def own_statistics(self: vae_layers.Norm, state: vae_layers.State) -> vae_layers.State:
    values = self.norm(state.values)
    return vae_layers.State(
        values if self.activation is None else self.activation(values), state.area, state.skip, state.skip_area
    )


def test_less_is_kept_where_less_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all states kept every layer runs once a tile; with none, once for every meeting after it."""
    vae, calls = kl(), []
    vae.decoder.conv_in.register_forward_hook(lambda *_: calls.append(1))
    there_and_back(vae, 16, 10**9)
    assert len(calls) == 3 * 2
    calls.clear()
    there_and_back(vae, 16, 0)
    meetings = sum(isinstance(layer, vae_layers.Meeting) for layer in vae_layers.decoder_layers(vae, HEIGHT, WIDTH))
    assert len(calls) == 3 * 2 * (meetings + 1)


def test_reach_of_convolutions() -> None:
    vae = folded()
    # decoder: 1 + 2*2 at an eighth, 1*2 + 1 at a quarter
    # encoder: 3 at a quarter, 4x4 with stride 2, 2 + 1 at an eighth
    assert decoder_margin(vae) == 7
    assert encoder_margin(vae) == 5


def test_an_autoencoder_that_mixes_the_whole_picture_is_refused() -> None:
    vae = folded()
    vae.decoder = nn.Sequential(vae.decoder, nn.GroupNorm(1, 3))
    with pytest.raises(SeesrError, match="cannot be run in tiles"):
        decoder_margin(vae)
