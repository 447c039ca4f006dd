"""Any detector and any panoptic or semantic segmenter of transformers, by folder or hub id, answering in COCO's ids.

A network's labels meet the ground truth's categories by name; categories that a network lacks are reported.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)
from transformers.models.auto import modeling_auto

from seesr.errors import SeesrError
from seesr.evaluation.semantics.boxes import Detections
from seesr.evaluation.semantics.coco import Category, SegmentMap
from seesr.evaluation.semantics.segments import NOTHING, category_map

_SAME = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Names some networks and Pascal VOC use → COCO's."""

_SPLIT_INTO_PATCHES = ("eomt", "eomt_dinov3")
"""Their semantic post-processing expects pictures cut by their semantic pre-processing."""


class Detector:
    """`AutoModelForObjectDetection` with its own pre- and post-processing.

    labels: the network's label → category id, of those that match. unknown: categories it has no label for.
    """

    def __init__(self, name: str, categories: Sequence[Category], device: torch.device) -> None:
        self.name = name
        self.device = device
        self.model, self.processor = _load(name, AutoModelForObjectDetection, "object detection", device)
        self.labels = match_labels(name, self.model.config.id2label, categories)
        self.unknown = [category.name for category in categories if category.id not in self.labels.values()]

    @torch.inference_mode()
    def detect(self, image: Image.Image) -> Detections:
        """All that the network finds in an RGB picture, however uncertain: AP needs the whole curve."""
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        found = self.processor.post_process_object_detection(
            self.model(**inputs), threshold=0.0, target_sizes=torch.tensor([[image.height, image.width]])
        )[0]
        boxes, scores, labels = (found[key].float().cpu().numpy() for key in ("boxes", "scores", "labels"))
        kept = np.isin(labels, list(self.labels))
        categories = np.array([self.labels[int(label)] for label in labels[kept]], dtype=np.int64)
        corners = boxes.astype(np.float64)[kept].reshape(-1, 4)  # (n, 4): left, top, right, bottom
        return Detections(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), scores[kept], categories)


class Segmenter:
    """`AutoModelForUniversalSegmentation` or `AutoModelForSemanticSegmentation` with its own pre- and post-processing.

    panoptic: whether it tells segments apart, or only the category of each pixel.
    """

    def __init__(self, name: str, categories: Sequence[Category], device: torch.device) -> None:
        self.name = name
        self.device = device
        kind = _config(name).model_type
        if kind == "oneformer":
            raise SeesrError(f"{name}: OneFormer has to be told its task in words; give a Mask2Former, EoMT or DETR")
        self.panoptic = kind in modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES
        loader = AutoModelForUniversalSegmentation if self.panoptic else AutoModelForSemanticSegmentation
        self.model, self.processor = _load(name, loader, "panoptic or semantic segmentation", device)
        self.labels = match_labels(name, self.model.config.id2label, categories)
        self.unknown = [category.name for category in categories if category.id not in self.labels.values()]
        things = {category.id for category in categories if category.is_thing}
        self._stuff = {label for label, category in self.labels.items() if category not in things}
        self._semantic = kind not in _SPLIT_INTO_PATCHES

    @torch.inference_mode()
    def segment(self, image: Image.Image) -> tuple[SegmentMap | None, np.ndarray]:
        """Of an RGB picture: its segments, if `panoptic`, and (H, W) int64 category ids, `NOTHING` where none is."""
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        outputs = self.model(**inputs)
        size = [(image.height, image.width)]
        segments = self._segments(outputs, size) if self.panoptic else None
        if segments is not None and not self._semantic:
            return segments, category_map(segments)
        labels = self.processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0].cpu().numpy()
        table = np.full(int(labels.max(initial=0)) + 1, NOTHING, dtype=np.int64)
        for label, category in self.labels.items():
            if label < table.size:
                table[label] = category
        return segments, np.where(labels >= 0, table[np.maximum(labels, 0)], NOTHING)

    def _segments(self, outputs: Any, size: list[tuple[int, int]]) -> SegmentMap:
        process = self.processor.post_process_panoptic_segmentation
        fuse = "stuff_classes" if "stuff_classes" in inspect.signature(process).parameters else "label_ids_to_fuse"
        found = process(outputs, target_sizes=size, **{fuse: self._stuff})[0]
        known = {
            segment["id"] + 1: self.labels[segment["label_id"]]  # ids may begin at 0, where ours say "no segment"
            for segment in found["segments_info"]
            if segment["label_id"] in self.labels
        }
        ids = found["segmentation"].cpu().numpy().astype(np.int64) + 1
        return SegmentMap(np.where(np.isin(ids, list(known)), ids, 0), known)


def match_labels(network: str, names: Mapping[int, str], categories: Sequence[Category]) -> dict[int, int]:
    """A network's labels by number → category ids, by name.

    Labels that were never named (`LABEL_184`) are taken for category ids where all the named ones are such.

    Raises:
        SeesrError: not one name is that of a category.
    """
    by_name = {_plain(category.name): category.id for category in categories}
    ids = {category.id for category in categories}
    labels = {int(label): by_name[_plain(name)] for label, name in names.items() if _plain(name) in by_name}
    if not labels:
        example = ", ".join(list(names.values())[:3])
        raise SeesrError(
            f"{network}: none of its labels ({example}, …) is a category of the ground truth "
            f"({', '.join(category.name for category in categories[:3])}, …); its config's id2label must name them"
        )
    if all(label == category for label, category in labels.items()):
        unnamed = (int(label) for label, name in names.items() if re.fullmatch(r"LABEL_\d+", name))
        labels |= {label: label for label in unnamed if label in ids - set(labels.values())}
    return labels


def _plain(name: str) -> str:
    """`Dining-Table`, `dining_table` and `diningtable` → `dining table`."""
    name = re.sub(r"[\s_-]+", " ", name.lower()).strip()
    return _SAME.get(name, name)


def _config(name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(name, error) from None


def _load(name: str, loader: Any, task: str, device: torch.device) -> tuple[Any, Any]:
    config = _config(name)
    if type(config) not in loader._model_mapping:
        raise SeesrError(f"{name}: a {config.model_type} is no network for {task} in transformers")
    try:
        model = loader.from_pretrained(name, dtype=torch.float32)
        return model.to(device).eval(), AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise _cannot_load(name, error) from None


def _cannot_load(name: str, error: Exception) -> SeesrError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return SeesrError(f"{name}: cannot be loaded as a network of transformers ({reason}); give a folder or a hub id")
