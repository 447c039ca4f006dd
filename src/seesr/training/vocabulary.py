"""The embedded tagger before DAPE: a pretrained classifier, its classes grouped into tags, thresholds calibrated.

Needs WordNet's `data.noun` (Debian's `wordnet-base`) and ImageNet pictures, one a class, to calibrate on.

    python -m seesr.training.vocabulary configs/mini/tags.yaml data.noun ../shared/photos/tags-0000.tar runs/tagger
"""

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor

from seesr.checkpoints.efficientnet import load_published
from seesr.checkpoints.wordnet import group_classes, read_nouns
from seesr.data.photos import TrainingPhoto, load_photos
from seesr.models.conv_tagger import ConvTagger

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
EVIDENCE = 8.0


def make_tagger(vocabulary: Path, wordnet: Path, pictures: str, outdir: Path) -> ConvTagger:
    """Download EfficientNet-Lite2 and save it as an fp16 `ConvTagger` folder.

    Args:
        vocabulary: YAML, tag -> WordNet synsets.
        wordnet: `data.noun` of WordNet 3.0.
        pictures: shard or folder of ImageNet pictures with `wnid` in their JSON files, every class at least once. They
            set the embedding's scale and the tags' thresholds.

    Raises:
        SeesrError: something cannot be downloaded or read, or is not what it should be.
    """
    tags = yaml.safe_load(vocabulary.read_text())
    photos = load_photos([pictures], 1)
    wnids = sorted({str(photo.info.get("wnid")) for photo in photos})
    groups = group_classes(wnids, tags, read_nouns(wordnet))
    tagger = ConvTagger(list(groups), [0.5] * len(groups), list(groups.values()), num_classes=len(wnids)).eval()
    load_published(tagger)

    outputs = [_see(tagger, photo) for photo in photos]
    tokens = torch.cat([tokens for tokens, _ in outputs])  # (photos * n, d)
    tagger.embed_scale.data = 1 / tokens.std(0)
    tagger.embed_shift.data = -tokens.mean(0) / tokens.std(0)
    classes = torch.tensor([wnids.index(photo.info["wnid"]) for photo in photos])
    probabilities = torch.stack([logits for _, logits in outputs]).sigmoid()  # (photos, tags)
    tagger.register_to_config(thresholds=calibrate(probabilities, tagger.members[:, classes].T))
    tagger.half().save_pretrained(outdir)
    return tagger


@torch.inference_mode()
def _see(tagger: ConvTagger, photo: TrainingPhoto) -> tuple[Tensor, Tensor]:
    """Tokens (n, d), the mean token left out, and logits (tags,)."""
    pixels = torch.tensor(photo.pixels).permute(2, 0, 1)[None] / 255  # (1, 3, h, w)
    seen = tagger(tagger.preprocess(pixels))
    return seen.image_embeds[0, 1:], seen.logits[0]


def calibrate(probabilities: Tensor, truth: Tensor) -> list[float]:
    """Threshold of each tag: the least of `THRESHOLDS` that gives few false alarms.

    At most one picture in ten above it, or a single one, is of another class. Its odds are at least `EVIDENCE` times
    those of the tag's share among the classes, which is about what a photo of no known class gets. The pictures have
    one label and often show more, so the rule may not push a threshold beyond the last step.

    Args:
        probabilities: (photos, tags).
        truth: (photos, tags), whether the photo's label is one of the tag's classes.
    """
    thresholds = []
    for p, true in zip(probabilities.T, truth.T, strict=True):
        share = true.float().mean()
        least = float(1 / (1 + (1 - share) / (EVIDENCE * share)))

        def good(threshold: float, p: Tensor = p, true: Tensor = true) -> bool:
            on = true[p > threshold]
            return int((~on).sum()) <= max(1, len(on) // 10)

        step = next((t for t in THRESHOLDS if good(t)), THRESHOLDS[-1])
        thresholds.append(round(max(step, least), 2))
    return thresholds


if __name__ == "__main__":
    vocabulary, wordnet, pictures, outdir = sys.argv[1:]
    make_tagger(Path(vocabulary), Path(wordnet), pictures, Path(outdir))
