"""A tagger small enough to train in a test."""

from pathlib import Path

from torch import nn

from seesr.models.tagger import Tagger


def save_small_ram(folder: Path) -> Path:
    """Folder of a plain tagger whose random weights are large enough for its output to depend on the picture."""
    tagger = Tagger(
        tags=[f"tag{i}" for i in range(12)],
        thresholds=[0.5] * 12,
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=2,
        label_dim=16,
        head_dim=32,
        head_feed_forward_dim=64,
    )
    for parameter in tagger.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    tagger.save_pretrained(folder)
    return folder
