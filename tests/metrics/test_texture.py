"""False texture and detail kept: by hand on noise of known strength."""

import torch

from seesr.metrics.texture import detail_kept, false_texture, local_deviation


def noise(sigma: float, seed: int, size: int = 160) -> torch.Tensor:
    """A grey picture with Gaussian noise of so many levels."""
    values = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(seed))
    return (0.5 + sigma / 255 * values).repeat(1, 3, 1, 1)


def test_local_deviation_is_that_of_a_window() -> None:
    picture = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    luma = 255 * (0.299 * picture[:, 0] + 0.587 * picture[:, 1] + 0.114 * picture[:, 2])
    expected = luma[1, 2:9, 3:10].std(unbiased=False)
    assert local_deviation(picture).shape == (2, 1, 3, 5)
    torch.testing.assert_close(local_deviation(picture)[1, 0, 2, 3], expected, rtol=1e-3, atol=1e-3)


def test_false_texture_counts_levels_where_the_clean_picture_is_flat() -> None:
    flat = noise(0.5, 0)
    assert abs(float(false_texture(flat, flat))) < 1e-6
    added = float(false_texture(noise(4, 1), flat))
    assert 3.2 < added < 3.7  # 4 - 0.5, and a window of 49 pixels tells a little less
    assert float(false_texture(noise(0, 0), flat)) < 0
    nearly_rich = noise(20, 2)
    nearly_rich[..., :20, :20] = 0.5  # 1 % of the windows
    assert torch.isnan(false_texture(flat, nearly_rich))


def test_detail_kept_is_a_ratio_where_there_is_detail() -> None:
    rich = noise(20, 3)
    assert abs(float(detail_kept(rich, rich)) - 1) < 1e-6
    half = 0.5 + (rich - 0.5) / 2
    assert abs(float(detail_kept(half, rich)) - 0.5) < 0.01
    assert torch.isnan(detail_kept(rich, noise(1, 4)))


def test_each_picture_has_its_own_figure() -> None:
    flat, rich = noise(0.5, 0), noise(20, 3)
    both = false_texture(torch.cat([rich, rich]), torch.cat([flat, rich]))
    assert both[0] > 10
    assert torch.isnan(both[1])
