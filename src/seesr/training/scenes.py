"""Tags that no ImageNet class stands for (sky, person, indoors), fitted to photos labelled by hand.

Logistic regression on the classifier's pooled features, with a ridge; thresholds from cross-validation. It takes a
minute, and the labels are few, so only what the features already tell apart is worth a tag.

    python -m seesr.training.scenes configs/mini/scenes.yaml runs/tagger ../shared/photos/train-*.tar
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from seesr.data.samples import load_photos
from seesr.errors import SeesrError
from seesr.metrics.tags import average_precision
from seesr.models.conv_tagger import ConvTagger

RIDGE = 0.03
FOLDS = 8
PRECISION = 0.85
LEAST_THRESHOLD = 0.3


def add_scenes(labels: Path, folder: Path, shards: list[str]) -> dict[str, float]:
    """Fit the tags of a label file and put them into a tagger's folder, replacing earlier ones of this kind.

    Args:
        labels: YAML with `tags`, and `photos`: shard/name without suffixes -> the tags it shows.
        folder: of a `ConvTagger`.
        shards: with the photos.

    Returns:
        Average precision of each tag, cross-validated.

    Raises:
        SeesrError: a photo is missing, or a label is not among the tags.
    """
    found = yaml.safe_load(labels.read_text())
    tags, labelled = found["tags"], found["photos"]
    if strange := {tag for shown in labelled.values() for tag in shown} - set(tags):
        raise SeesrError(f"{labels}: {', '.join(sorted(strange))} is not among the tags")
    photos: dict[str, np.ndarray] = {}
    for shard in shards:
        photos |= {_key(p.name): p.pixels for p in load_photos([shard], 1) if _key(p.name) in labelled}
    if missing := labelled.keys() - photos.keys():
        raise SeesrError(f"{labels}: {len(missing)} photos are in none of the shards, the first is {min(missing)}")

    old = ConvTagger.from_pretrained(folder, torch_dtype=torch.float32).eval()
    pooled: list[Tensor] = []
    old.classifier.register_forward_pre_hook(lambda module, args: pooled.append(args[0]))
    with torch.no_grad():
        for name in labelled:
            old(old.preprocess(torch.tensor(photos[name]).permute(2, 0, 1)[None] / 255))
    features = torch.cat(pooled)  # (photos, head_channels)
    truth = torch.tensor([[float(tag in shown) for tag in tags] for shown in labelled.values()])  # (photos, tags)

    scores = torch.empty_like(truth)
    fold = torch.randperm(len(truth), generator=torch.Generator().manual_seed(0)) % FOLDS
    for number in range(FOLDS):
        scores[fold == number] = fit(features[fold != number], truth[fold != number])(features[fold == number])

    count = sum(bool(group) for group in old.config.classes)
    thresholds = [_threshold(s.sigmoid(), t) for s, t in zip(scores.T, truth.T)]
    settings = vars(old.config) | {
        "tags": old.config.tags[:count] + tags,
        "thresholds": old.config.thresholds[:count] + thresholds,
        "classes": old.config.classes[:count] + [[]] * len(tags),
    }
    new = ConvTagger(**settings)
    new.load_state_dict({k: v for k, v in old.state_dict().items() if not k.startswith("scenes.")}, strict=False)
    new.scenes = fit(features, truth)
    new.half().save_pretrained(folder)
    return {tag: average_precision(t.bool().numpy(), s.detach().numpy()) for tag, s, t in zip(tags, scores.T, truth.T)}


@torch.enable_grad()
def fit(features: Tensor, truth: Tensor) -> nn.Linear:
    """Ridge logistic regression on standardised features, (N, d), for each column of `truth`, (N, tags)."""
    mean, scale = features.mean(0), 1 / (features.std(0) + 0.05)
    linear = nn.Linear(features.shape[1], truth.shape[1])
    nn.init.zeros_(linear.weight)
    inputs = (features - mean) * scale
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        entropy = F.binary_cross_entropy_with_logits(linear(inputs), truth, reduction="none").mean(0).sum()
        value = entropy + RIDGE * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():  # take the standardisation into the layer
        linear.weight.mul_(scale)
        linear.bias.sub_(linear.weight @ mean)
    return linear


def _threshold(probabilities: Tensor, truth: Tensor) -> float:
    """The least, in steps of .05, above which `PRECISION` is right."""
    for step in torch.arange(LEAST_THRESHOLD, 0.951, 0.05).tolist():
        on = truth[probabilities > step]
        if len(on) and on.mean() >= PRECISION:
            return round(float(step), 2)
    return 0.95


def _key(name: str) -> str:
    """`.../train-0000.tar/000012.webp` -> `train-0000/000012`."""
    path = Path(name)
    return f"{path.parent.stem}/{path.stem}"


if __name__ == "__main__":
    for tag, precision in add_scenes(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]).items():
        print(f"{tag:<12} average precision {precision:.2f}")
