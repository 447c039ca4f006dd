"""Enlarger and tagger as ONNX graphs: a network in, a graph for any picture size out, and how far the two differ.

A graph takes float32 RGB pictures, (batch, 3, height, width) in [0, 1], whatever it computes in. What belongs to a
network besides its weights is inside: the photo's own colours of the enlarger, resize and normalisation of the tagger.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

import seesr
from seesr.errors import SeesrError
from seesr.models.lora import merge
from seesr.models.tagging import PhotoTagger
from seesr.models.tiled_enlarger import WHOLE_FROM, TiledEnlarger

OPSET = 18
"""The first with the filtered resize that the embedded tagger asks for."""

INPUT = "image"


class EnlargerPart(nn.Module):
    """What `TiledEnlarger.enlarge` does to a photo of one tile whose sides are not flat."""

    outputs = ("enlarged",)  # (batch, 3, scale*height, scale*width) in [0, 1], float32
    sizes = ((1, 96, 64), (2, 33, 47), (1, 7, 5))  # pictures, height, width: on which a graph is compared with it

    def __init__(self, network: TiledEnlarger) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():  # then the work is not done in strips, whose number depends on the size
            return (self.network.enlarge_tile(image),)

    def about(self) -> dict[str, Any]:
        """What a program that runs the graph may ask for."""
        return {"scale": self.network.scale, "tile": WHOLE_FROM, "overlap": self.network.overlap}


class TaggerPart(nn.Module):
    """The tagger with DAPE merged into its weights, behind its own resize and normalisation."""

    outputs = ("logits", "image_embeds")  # (batch, tags) and (batch, 1 + tokens, image_embed_dim), float32
    sizes = ((1, 480, 640), (2, 130, 97), (1, 7, 5))

    def __init__(self, network: PhotoTagger) -> None:
        super().__init__()
        self.network = deepcopy(network)
        merge(self.network)
        encoder: Any = getattr(self.network, "visual_encoder", None)
        if encoder is not None:  # PyTorch's fused attention cannot be taken apart for a free batch
            encoder.set_attn_implementation("eager")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        dtype = next(self.network.parameters()).dtype
        seen = self.network(self.network.preprocess(image).to(dtype))
        return seen.logits.to(image.dtype), seen.image_embeds.to(image.dtype)

    def about(self) -> dict[str, Any]:
        """What a program that runs the graph may ask for."""
        config = self.network.config
        return {"tags": list(config.tags), "thresholds": list(config.thresholds), "image_size": config.image_size}


Part = EnlargerPart | TaggerPart


def import_onnx() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.

    Raises:
        SeesrError: one of those that the export needs is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  PyTorch's exporter is written with it
    except ImportError as error:
        raise SeesrError(f"export to ONNX needs more packages ({error}); pip install 'seesr[export]'") from None
    return onnx, onnxruntime


def to_onnx(part: Part, about: Mapping[str, object]) -> bytes:
    """The graph of `part` as the content of an .onnx file, with free batch, height and width.

    Args:
        about: goes into the file's metadata beside `part.about()`; what is no text, as JSON.

    Raises:
        SeesrError: the packages are missing, or the exporter cannot do it.
    """
    onnx, _ = import_onnx()
    sizes = {0: "batch", 2: "height", 3: "width"}
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                part.eval(),
                (torch.rand(2, 3, 40, 56),),  # a size of 1 would be taken for a constant
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=part.outputs,
                dynamic_shapes={INPUT: sizes},
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise SeesrError(f"PyTorch {torch.__version__} cannot export this network ({reason})") from error
    model = program.model_proto
    for node in model.graph.node:  # they tell where the code lies on this machine
        del node.metadata_props[:]
    model.producer_name, model.producer_version = "seesr", seesr.__version__
    told = {**about, **part.about(), "input": "RGB in [0, 1], float32"}
    onnx.helper.set_model_props(
        model, {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    )
    content: bytes = model.SerializeToString()
    return content


@torch.no_grad()
def largest_difference(graph: bytes, part: Part) -> float:
    """How far what ONNX Runtime makes of `graph` on the CPU is from `part`, at most, over `part.sizes`.

    Logits and embeddings count relative to the largest of theirs, pictures as they are, in [0, 1].
    """
    _, onnxruntime = import_onnx()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; it tells of what it does not simplify
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    most = 0.0
    for number, (count, height, width) in enumerate(part.sizes):
        noise = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(number))
        image = nn.functional.avg_pool2d(noise, 3, 1, 1)  # not as wild as noise alone
        for wanted, found in zip(part(image), session.run(None, {INPUT: image.numpy()}), strict=True):
            largest = max(1.0, float(wanted.abs().max()))
            most = max(most, float((torch.from_numpy(found) - wanted).abs().max()) / largest)
    return most


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of operations of packages that are not installed, and of its own use of PyTorch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
