"""Where the words of a prompt come from: SeeSR's section 3.1 compares tags with captions and class names.

The text of any of these sources takes the place of DAPE's tags in the prompt; the representation embedding and
everything else stay the same. Captioners and classifiers are transformers' own, by hub name or folder, and see the
low-resolution picture.
"""

import csv
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from seesr.errors import SeesrError
from seesr.evaluation.baselines.interface import Case, fingerprint

QUESTION = "Describe this image in one sentence."
"""What a captioner that answers questions (one with a chat template) is asked."""

MOST_TOKENS = 60
"""Of a caption; CLIP reads 77 tokens in all."""


class PromptSource(Protocol):
    """Text for a picture; `identity` changes whenever another text may come out."""

    @property
    def identity(self) -> str: ...

    def text_for(self, case: Case) -> str:
        """Raises SeesrError where there is none."""


def make_source(text: str, device: torch.device) -> PromptSource:
    """`caption:MODEL`, `class:MODEL` or `file:PATH`; a model is loaded at the first picture.

    Raises:
        SeesrError: no such source, or a file that holds no captions.
    """
    kind, _, what = text.partition(":")
    if kind not in ("caption", "class", "file") or not what:
        raise SeesrError(f"prompt cannot be {text!r}; give tags, caption:MODEL, class:MODEL, file:PATH or text:WORDS")
    if kind == "file":
        return CaptionFile(Path(what).expanduser())
    return Captioner(what, device) if kind == "caption" else Classifier(what, device)


@dataclass(frozen=True)
class CaptionFile:
    """Captions written down: CSV with the columns `image` and `caption`, or JSON, an object of caption by image.

    Images are told by name without suffix.
    """

    file: Path

    def __post_init__(self) -> None:
        self._captions  # noqa: B018 - a bad file is told of before any work

    @property
    def identity(self) -> str:
        return fingerprint(self.file)

    def text_for(self, case: Case) -> str:
        if case.path.stem not in self._captions:
            raise SeesrError(f"{self.file} has no caption for {case.path.stem}; add it")
        return self._captions[case.path.stem]

    @cached_property
    def _captions(self) -> dict[str, str]:
        try:
            text = self.file.read_text(encoding="utf-8-sig")  # as spreadsheets write it, too
            if self.file.suffix.lower() == ".json":
                pairs = dict(json.loads(text)).items()
            else:
                pairs = {row["image"]: row["caption"] for row in csv.DictReader(text.splitlines())}.items()
        except OSError as error:
            raise SeesrError(f"{self.file}: cannot be read ({error.strerror}); give a CSV or JSON file") from None
        except (KeyError, TypeError, ValueError):
            raise SeesrError(
                f"{self.file}: holds no captions; give CSV with the columns image,caption or a JSON object"
            ) from None
        return {Path(image).stem: str(caption).strip() for image, caption in pairs}


@dataclass(frozen=True)
class Captioner:
    """An image-to-text model of transformers: BLIP, GIT, ViT-GPT2, or one that answers questions."""

    place: str
    device: torch.device

    @property
    def identity(self) -> str:
        return _identity(self.place)

    @torch.inference_mode()
    def text_for(self, case: Case) -> str:
        read, model, write = _load_captioner(self.place, self.device)
        inputs = read(case.image).to(self.device)
        words = model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)  # (1, n)
        if "input_ids" in inputs and not model.config.is_encoder_decoder:
            words = words[:, inputs["input_ids"].shape[1] :]  # what was asked comes first
        return " ".join(write(words[0], skip_special_tokens=True).split())


@dataclass(frozen=True)
class Classifier:
    """The likeliest class of an image classifier of transformers; of several names for it the first."""

    place: str
    device: torch.device

    @property
    def identity(self) -> str:
        return _identity(self.place)

    def text_for(self, case: Case) -> str:
        label: str = _load_classifier(self.place, self.device)(case.image, top_k=1)[0]["label"]
        return label.partition(",")[0]


def _identity(place: str) -> str:
    folder = Path(place).expanduser()
    return fingerprint(folder) if folder.is_dir() else place


@lru_cache(maxsize=1)
def _load_captioner(place: str, device: torch.device) -> tuple[Any, Any, Any]:
    """(picture → inputs, model, tokens → text)."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    try:
        model = AutoModelForImageTextToText.from_pretrained(place).to(device).eval()
        processor = AutoProcessor.from_pretrained(place)
        if not hasattr(processor, "image_processor"):  # a model put together of two has no processor of its own
            return AutoImageProcessor.from_pretrained(place), model, AutoTokenizer.from_pretrained(place).decode
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SeesrError(f"{place}: no captioner that transformers can load ({_first_line(error)})") from error

    def read(image: Image.Image) -> Any:
        if not getattr(processor, "chat_template", None):
            return processor(images=image, return_tensors="pt")
        content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    return read, model, processor.decode


@lru_cache(maxsize=1)
def _load_classifier(place: str, device: torch.device) -> Any:
    from transformers import pipeline

    try:
        return pipeline("image-classification", model=place, device=device)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SeesrError(f"{place}: no classifier that transformers can load ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
