"""`seesr semantics` from pictures to tables: a set in COCO's format, networks of transformers."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seesr.errors import SeesrError
from seesr.evaluation.methods import make_method
from seesr.evaluation.semantics.boxes import box_ap
from seesr.evaluation.semantics.coco import Category, Instances, Panoptic, check_pictures, read_instances, read_panoptic
from seesr.evaluation.semantics.networks import Detector, Segmenter, match_labels
from seesr.evaluation.semantics.recognition import Truth, recognise
from seesr.evaluation.semantics.rows import open_testset
from seesr.evaluation.semantics.shapes import STUFF, THINGS, make_shapes

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = dict(enumerate((*THINGS, STUFF)))
SIDE = 64


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small pictures with shapes, and their annotations."""
    folder = tmp_path_factory.mktemp("shapes")
    make_shapes(folder, [str(EXAMPLES)], 4, SIDE, seed=3)
    return folder


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny networks with random weights: a detector, a panoptic and a semantic segmenter."""
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        SegformerConfig,
        SegformerForSemanticSegmentation,
        SegformerImageProcessor,
        SwinConfig,
        YolosConfig,
        YolosForObjectDetection,
        YolosImageProcessor,
    )

    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    size = {"height": SIDE, "width": SIDE}
    names: dict[str, Any] = {"id2label": NAMES, "label2id": {name: label for label, name in NAMES.items()}}
    narrow: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    yolos = YolosConfig(**names, **narrow, intermediate_size=32, image_size=[SIDE, SIDE], num_detection_tokens=12)
    swin = SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=[f"stage{i}" for i in (1, 2, 3, 4)],
    )
    widths = ("feature_size", "mask_feature_size", "hidden_dim", "dim_feedforward", "encoder_feedforward_dim")
    counts = {"encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 12}
    mask2former = Mask2FormerConfig(backbone_config=swin, **names, **dict.fromkeys(widths, 32), **counts)
    segformer = SegformerConfig(
        **names,
        hidden_sizes=[8] * 4,
        num_attention_heads=[1] * 4,
        depths=[1] * 4,
        decoder_hidden_size=8,
    )
    for name, model, processor in (
        ("detector", YolosForObjectDetection(yolos), YolosImageProcessor(size=size)),
        ("panoptic", Mask2FormerForUniversalSegmentation(mask2former), Mask2FormerImageProcessor(size=size)),
        ("semantic", SegformerForSemanticSegmentation(segformer), SegformerImageProcessor(size=size)),
    ):
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


class Memory(nn.Module):
    """In place of a network's weights: it knows some pictures by heart, and sees nothing in any other.

    The processors around it are the real ones, so what it answers has to be in the form the real network has.
    """

    def __init__(self, network: Any, answers: dict[Path, dict[str, torch.Tensor]]) -> None:
        super().__init__()
        self.config = network.model.config
        self.answers = []
        for file, answer in answers.items():
            pixels = network.processor(images=Image.open(file), return_tensors="pt")["pixel_values"]
            self.answers.append((pixels, answer))

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> SimpleNamespace:
        for pixels, answer in self.answers:
            if (pixels - pixel_values).abs().max() < 1e-3:
                return SimpleNamespace(**answer)
        blank = {name: value.clone() for name, value in self.answers[0][1].items()}
        for name in ("logits", "class_queries_logits"):
            if name in blank:
                blank[name][...] = 0
                blank[name][..., -1] = 20  # "no object"
        for name, nothing in (("masks_queries_logits", -20), ("pred_boxes", 0)):
            if name in blank:
                blank[name][...] = nothing
        return SimpleNamespace(**blank)


def _classes(labels: list[int], queries: int = 12) -> torch.Tensor:
    logits = torch.zeros(1, queries, len(NAMES) + 1)
    logits[..., -1] = 20
    for query, label in enumerate(labels):
        logits[0, query, -1] = 0
        logits[0, query, label] = 20
    return logits


def exact_detector(folder: Path, truth: Instances, pictures: Path) -> Detector:
    detector = Detector(str(folder), truth.categories, CPU)
    answers = {}
    for name, picture in truth.pictures.items():
        boxes = torch.zeros(1, 12, 4)
        for query, box in enumerate(truth.boxes.get(name, [])):
            x, y, width, height = box.bbox
            boxes[0, query] = torch.tensor([x + width / 2, y + height / 2, width, height]) / SIDE
        labels = [box.category - 1 for box in truth.boxes.get(name, [])]
        answers[pictures / picture.file_name] = {"logits": _classes(labels), "pred_boxes": boxes}
    detector.model = Memory(detector, answers)
    return detector


def exact_segmenter(folder: Path, truth: Panoptic, pictures: Path) -> Segmenter:
    segmenter = Segmenter(str(folder), truth.categories, CPU)
    answers = {}
    for name, picture in truth.pictures.items():
        segments = truth.read(name)
        masks = torch.full((1, 12, SIDE, SIDE), -20.0)
        for query, segment in enumerate(segments.categories):
            masks[0, query][torch.from_numpy(segments.ids == segment)] = 20
        labels = [category - 1 for category in segments.categories.values()]
        answers[pictures / picture.file_name] = {
            "class_queries_logits": _classes(labels),
            "masks_queries_logits": masks,
        }
    segmenter.model = Memory(segmenter, answers)
    return segmenter


def test_exact_networks_score_100_and_blind_ones_0(shapes: Path, networks: Path, tmp_path: Path) -> None:
    pictures = shapes / "pictures"
    instances, panoptic = read_instances(shapes / "instances.json"), read_panoptic(shapes / "panoptic.json")
    assert any(box.crowd for boxes in instances.boxes.values() for box in boxes)
    truth = Truth(
        instances,
        exact_detector(networks / "detector", instances, pictures),
        panoptic,
        exact_segmenter(networks / "panoptic", panoptic, pictures),
    )
    testset = open_testset(pictures, "seesr", 0, tmp_path, None)
    rows = recognise(testset, [make_method(f"folder:{pictures}", CPU)], truth, tmp_path)
    assert [row.name for row in rows] == ["HR", "LR", f"folder:{pictures}"]
    whole = dict.fromkeys(("AP", "AP50", "AP75", "PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "mIoU"), 100)
    for row in (rows[0], rows[2]):
        assert {name: row.summary[name] for name in whole} == pytest.approx(whole)
    assert {name: rows[1].summary[name] for name in whole} == pytest.approx(
        dict.fromkeys(whole, 0) | {"mIoU": rows[1].summary["mIoU"]}
    )
    assert rows[1].summary["mIoU"] < 50  # of nothing but blank masks, one category for the whole picture is still made


def test_the_command_with_real_networks(
    shapes: Path, networks: Path, tmp_path: Path, seesr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    inputs = ["--testset", shapes / "pictures", "--degrade", "mild", "--method", "bicubic", "-o", out]
    boxes = ["--instances", shapes / "instances.json", "--detector", networks / "detector"]
    segments = ["--panoptic", shapes / "panoptic.json", "--segmenter", networks / "panoptic"]
    outcome = seesr("semantics", "coco", *inputs, *boxes, *segments, "--limit", 3)
    assert outcome.code == 0, outcome.err
    assert "3 pictures" in outcome.out
    assert outcome.out.count("LR") == 1  # bicubic is that row already
    with (out / "semantics.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"HR", "LR"}
    record = json.loads((out / "semantics.json").read_text())
    assert record["detector"]["unknown"] == []

    # what was written is what pycocotools itself reads and scores the same
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(shapes / "instances.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(out / "detections" / "HR.json")), "bbox")
    evaluation.params.imgIds = [1, 2, 3]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert float(rows["HR"]["AP"]) == pytest.approx(100 * evaluation.stats[0])
    written = json.loads((out / "panoptic" / "HR.json").read_text())["annotations"]
    assert [one["image_id"] for one in written] == [1, 2, 3]
    assert (out / "panoptic" / "HR" / written[0]["file_name"]).is_file()

    semantic = ["--panoptic", shapes / "panoptic.json", "--segmenter", networks / "semantic"]
    assert seesr("semantics", "coco", *inputs, *semantic).code == 0
    with (out / "semantics.csv").open() as file:
        assert next(csv.DictReader(file)).keys() == {"row", "mIoU"}


def test_any_size_comes_back_as_it_was(tmp_path: Path) -> None:
    """Sides that are no multiples of 4 are padded for the degradation and cut after the restoration."""
    (tmp_path / "hr").mkdir()
    Image.linear_gradient("L").convert("RGB").crop((0, 0, 66, 45)).save(tmp_path / "hr" / "a.png")
    testset = open_testset(tmp_path / "hr", "bicubic", 0, tmp_path / "out", None)
    assert Image.open(testset.pairs[0].restored).size == (17, 12)

    sizes = []

    class Looking:
        unknown: tuple[str, ...] = ()

        def detect(self, image: Image.Image) -> Any:
            sizes.append(image.size)
            return SimpleNamespace(
                boxes=np.zeros((0, 4)), categories=np.zeros(0), scores=np.zeros(0), results=lambda _: []
            )

    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 66, "height": 45}],
        "categories": [{"id": 1, "name": "disc"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    truth = Truth(read_instances(tmp_path / "instances.json"), Looking())  # type: ignore[arg-type]
    rows = recognise(testset, [], truth, tmp_path / "out")
    assert sizes == [(66, 45), (66, 45)]
    assert [row.summary["AP"] for row in rows] == [0, 0]


def test_labels_meet_categories_by_name() -> None:
    categories = [Category(1, "person"), Category(4, "motorcycle"), Category(90, "dining table"), Category(184, "tree")]
    names = {0: "N/A", 1: "Person", 2: "motorbike", 3: "diningtable", 4: "LABEL_184"}
    assert match_labels("x", names, categories) == {1: 1, 2: 4, 3: 90}
    names = {0: "LABEL_0", 1: "person", 4: "motorcycle", 90: "dining_table", 184: "LABEL_184"}
    assert match_labels("x", names, categories) == {1: 1, 4: 4, 90: 90, 184: 184}
    with pytest.raises(SeesrError, match=r"x: none of its labels \(LABEL_0, LABEL_1, …\) is a category"):
        match_labels("x", {0: "LABEL_0", 1: "LABEL_1"}, categories)


def test_errors_name_the_file(shapes: Path, networks: Path, tmp_path: Path, seesr: Callable[..., Any]) -> None:
    def damaged(change: Callable[[dict[str, Any]], Any], name: str = "instances") -> Path:
        content = json.loads((shapes / f"{name}.json").read_text())
        change(content)
        shutil.copytree(shapes / "panoptic", tmp_path / name, dirs_exist_ok=True)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content))
        return file

    def fails(match: str, read: Callable[[], Any]) -> None:
        with pytest.raises(SeesrError, match=match):
            read()

    def boxes(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
        return lambda: read_instances(damaged(change))

    def segments(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
        return lambda: read_panoptic(damaged(change, "panoptic")).read("000000")

    fails(r"nowhere\.json: cannot be read", lambda: read_instances(tmp_path / "nowhere.json"))
    fails(r"000000\.png: no JSON file", lambda: read_instances(shapes / "pictures" / "000000.png"))
    fails("not in COCO's format", boxes(lambda c: c.pop("images")))
    fails("has category 99, which does not exist", boxes(lambda c: c["annotations"][0].update(category_id=99)))
    fails("of picture 77, which is not among", boxes(lambda c: c["annotations"][0].update(image_id=77)))
    fails("has no image_id, category_id or bbox", boxes(lambda c: c["annotations"][0].pop("bbox")))
    fails("two images are called 000001", boxes(lambda c: c["images"][0].update(file_name="x/000001.jpg")))
    fails("is it a panoptic file", lambda: read_panoptic(damaged(lambda c: None)))
    fails(
        "segment 40 is in only one of",
        segments(lambda c: c["annotations"][0]["segments_info"].append({"id": 40, "category_id": 1})),
    )
    fails(r"is 64x64, but .*panoptic\.json says 65x64", segments(lambda c: c["images"][0].update(width=65)))
    fails("of 000000 cannot be read", segments(lambda c: c["annotations"][0].update(file_name="gone.png")))
    fails(
        r"gone\.png: is missing",
        lambda: check_pictures(
            read_panoptic(damaged(lambda c: c["annotations"][0].update(file_name="gone.png"), "panoptic")),
            {"000000": (64, 64)},
            {"000000": Path("a.png")},
        ),
    )
    fails("gone: no such folder", lambda: read_panoptic(shutil.copy(shapes / "panoptic.json", tmp_path / "gone.json")))

    truth = read_instances(shapes / "instances.json")
    fails("b.png: has no annotations in", lambda: check_pictures(truth, {"b": (64, 64)}, {"b": Path("b.png")}))
    fails(
        r"a\.png is 32x64, but .* says 64x64",
        lambda: check_pictures(truth, {"000000": (32, 64)}, {"000000": Path("a.png")}),
    )
    fails("no network for object detection", lambda: Detector(str(networks / "semantic"), truth.categories, CPU))
    fails("no network for panoptic or semantic", lambda: Segmenter(str(networks / "detector"), truth.categories, CPU))
    fails("cannot be loaded as a network", lambda: Detector(str(tmp_path), truth.categories, CPU))
    fails("use `degrade`", lambda: open_testset(shapes / "pictures", None, 0, tmp_path, None))

    pictures = ["--testset", shapes / "pictures", "-o", tmp_path / "out", "--degrade", "mild"]
    for options, words in (
        ([], "nothing to recognise"),
        (["--detector", networks / "detector"], "--instances goes with --detector"),
        (["--panoptic", shapes / "panoptic.json"], "--panoptic with --segmenter"),
    ):
        outcome = seesr("semantics", "coco", *pictures, *options)
        assert (outcome.code, words in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "out").exists()


def test_box_ap_of_the_shapes_is_whole(shapes: Path) -> None:
    """The maker's boxes fit its masks: every object's box, cut from the panoptic map, finds its annotation."""
    instances, panoptic = read_instances(shapes / "instances.json"), read_panoptic(shapes / "panoptic.json")
    for name, boxes in instances.boxes.items():
        segments = panoptic.read(name)
        for box in boxes:
            x, y, width, height = map(int, box.bbox)
            inside = segments.ids[y : y + height, x : x + width]
            areas = {
                int((inside == i).sum()) for i, category in segments.categories.items() if category == box.category
            }
            assert int(box.area) in areas
    assert box_ap(instances, {}).summary["AP"] is None
