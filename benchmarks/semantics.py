"""Semantic preservation end to end, on a set of our own: shapes on photos, networks trained on other photos' shapes.

    python benchmarks/semantics.py --train SHARD.tar ... --test SHARD.tar -o out/semantics [--steps 3000] [--count 60]

Makes two sets in COCO's format (`seesr semantics shapes`), trains a small RT-DETR and a small SegFormer on the first
(0.16 and 0.12 s of one processor core a step), and prints the command that holds them against the second. The figures
say whether the way from pictures to AP and mIoU works and ranks; they say nothing about COCO.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from seesr.evaluation.semantics.coco import read_instances, read_panoptic
from seesr.evaluation.semantics.segments import NOTHING, category_map
from seesr.evaluation.semantics.shapes import STUFF, THINGS, make_shapes

SIDE = 128
BATCH = 8
IGNORED = 255  # SegFormer's label of pixels that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, help="photos behind the shapes to learn from")
    parser.add_argument("--test", nargs="+", required=True, help="other photos")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--count", type=int, default=60, help="pictures to test on")
    arguments = parser.parse_args()
    out = arguments.output
    make_shapes(out / "train", arguments.train, 600, SIDE, seed=1)
    make_shapes(out / "test", arguments.test, arguments.count, SIDE, seed=2)
    train_segmenter(out / "train", out / "segmenter", arguments.steps)
    train_detector(out / "train", out / "detector", arguments.steps)
    print(
        f"seesr semantics coco --testset {out}/test/pictures --degrade seesr --method mini -o {out}/result \\\n"
        f"    --instances {out}/test/instances.json --detector {out}/detector \\\n"
        f"    --panoptic {out}/test/panoptic.json --segmenter {out}/segmenter"
    )


def train_detector(data: Path, folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    truth = read_instances(data / "instances.json")
    backbone = RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], layer_type="basic"
    )
    backbone.out_features = ["stage2", "stage3", "stage4"]
    config = RTDetrConfig(
        backbone_config=backbone,
        **labels(THINGS),
        freeze_backbone_batch_norms=False,
        encoder_in_channels=[32, 48, 64],
        feat_strides=[8, 16, 32],
        encoder_hidden_dim=48,
        encoder_ffn_dim=96,
        encoder_attention_heads=3,
        hidden_expansion=0.5,
        d_model=48,
        decoder_in_channels=[48, 48, 48],
        decoder_ffn_dim=96,
        decoder_attention_heads=3,
        decoder_layers=2,
        num_queries=20,
        num_denoising=20,
        num_feature_levels=3,
    )
    network = RTDetrForObjectDetection(config)
    processor = RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})

    def targets(names: list[str]) -> list[dict[str, torch.Tensor]]:
        found = []
        for name in names:
            boxes = [box for box in truth.boxes.get(name, []) if not box.crowd]
            corners = (
                torch.tensor([box.bbox for box in boxes], dtype=torch.float32).reshape(-1, 4) / SIDE
            )  # x, y, width, height
            centres = torch.cat([corners[:, :2] + corners[:, 2:] / 2, corners[:, 2:]], 1)
            found.append(
                {"class_labels": torch.tensor([box.category - 1 for box in boxes], dtype=torch.long), "boxes": centres}
            )
        return found

    train(network, processor, data, sorted(truth.pictures), targets, steps)
    save(network, processor, folder)


def train_segmenter(data: Path, folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    truth = read_panoptic(data / "panoptic.json")
    config = SegformerConfig(
        **labels((*THINGS, STUFF)),
        hidden_sizes=[16, 32, 48, 64],
        num_attention_heads=[1, 2, 2, 4],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=64,
        classifier_dropout_prob=0.0,
    )
    network = SegformerForSemanticSegmentation(config)
    processor = SegformerImageProcessor(size={"height": SIDE, "width": SIDE})

    def targets(names: list[str]) -> torch.Tensor:
        maps = np.stack([category_map(truth.read(name)) for name in names])  # (B, H, W)
        return torch.from_numpy(np.where(maps == NOTHING, IGNORED, maps - 1))

    train(network, processor, data, sorted(truth.pictures), targets, steps)
    save(network, processor, folder)


def train(network: Any, processor: Any, data: Path, names: list[str], targets: Any, steps: int) -> None:
    """AdamW with a one-cycle learning rate on `steps` batches."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    network.train()
    began = time.process_time()
    for step, batch in zip(range(steps), batches(names)):
        images = [Image.open(data / "pictures" / f"{name}.png") for name in batch]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        loss = network(pixel_values=pixels, labels=targets(batch)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1 if "Detr" in type(network).__name__ else 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            spent = time.process_time() - began
            print(
                f"{type(network).__name__} step {step}: loss {loss.item():.3f}, {spent:.0f} s of processor", flush=True
            )


def batches(names: list[str]) -> Iterator[list[str]]:
    rng = np.random.default_rng(0)
    while True:
        yield [names[i] for i in rng.choice(len(names), BATCH, replace=False)]


def labels(names: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: label for label, name in enumerate(names)}}


def save(network: Any, processor: Any, folder: Path) -> None:
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


if __name__ == "__main__":
    main()
