"""A tagger looking at photos: probabilities of all tags, with DAPE or as plain RAM."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image

from seesr.metrics.tags import Sight
from seesr.models.dape import plain_ram
from seesr.models.tagging import PhotoTagger
from seesr.photos.pictures import to_tensor


@torch.inference_mode()
def look(tagger: PhotoTagger, images: Iterable[Image.Image], *, dape: bool) -> Sight:
    """What the tagger sees in RGB pictures of any size; without `dape` its LoRA factors take no part.

    Args:
        tagger: with `preprocess`, `config.tags`, `config.thresholds` and `forward(...).logits`, as all of ours.
    """
    device = next(tagger.parameters()).device
    rows = []
    for image in images:
        pixels = tagger.preprocess(to_tensor(image).to(device))
        if dape:
            logits = tagger(pixels).logits
        else:
            with plain_ram(tagger):
                logits = tagger(pixels).logits
        rows.append(logits[0].float().sigmoid().cpu().numpy())
    probabilities = np.stack(rows).astype(np.float64)  # (n, tags)
    return Sight(probabilities, probabilities > np.asarray(tagger.config.thresholds))
