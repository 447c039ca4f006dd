"""A small text tower for models grown from nothing: CLIP's architecture, a byte-pair vocabulary of its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from seesr.models import int8

LENGTH = 77  # tokens of a prompt, as in Stable Diffusion

_START, _END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], vocabulary: int, folder: Path) -> CLIPTokenizer:
    """Learn a byte-pair encoding of at most `vocabulary` tokens from `texts`; written to `folder`.

    Args:
        texts: tags and prompts; letters that are not in them are still encoded, byte by byte.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=_END))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    single = [chr(code) for code in range(33, 256)]  # so that every byte is known at the end of a word, too
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_START, _END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([*(text.lower() for text in texts), *single], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    clip = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH)
    clip.save_pretrained(folder)
    return clip


class TextTower(CLIPTextModel):  # type: ignore[misc]
    """CLIP's text model, whose weights may be stored as 8-bit integers."""

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> Any:
        file = Path(folder) / int8.FILE_NAME
        if not file.is_file():
            return super().from_pretrained(folder, *args, **kwargs)
        tower = cls(CLIPTextConfig.from_pretrained(folder))
        tower.load_state_dict(int8.dequantize(load_file(file)))
        return tower.to(kwargs.get("torch_dtype") or kwargs.get("dtype") or torch.float32).eval()

    def save_int8(self, folder: Path) -> None:
        """As `save_pretrained`, with the weights as integers."""
        self.config.save_pretrained(folder)
        int8.save(self, folder / int8.FILE_NAME)


def text_tower(tokenizer: CLIPTokenizer, width: int = 256, layers: int = 2, heads: int = 4) -> TextTower:
    """A new, untrained text tower for `tokenizer`; its last hidden states are (B, 77, width)."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return TextTower(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=LENGTH,
            projection_dim=width,
            pad_token_id=tokenizer.pad_token_id,
            **ids,
        )
    )
