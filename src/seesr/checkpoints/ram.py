"""RAM's and DAPE's published tensors ⇄ `Tagger`: names, the merged query-key-value layout, sizes read from shapes.

Published Swin encoders keep query, key and value in one matrix, and DAPE keeps the LoRA factors of query and value in
one pair (lora_A: rows 0..r-1 query, the rest value; lora_B: rows 0..d-1 query, the rest value).

RAM ties the cross-attention of its `tag_encoder` to that of the tag head: one weight, two modules. Both modules bring
LoRA factors of their own, and both products are added to the one weight. So although SeeSR never runs the tag encoder,
its cross-attention factors count: the tag head's layers get both pairs, stacked to twice the rank.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import init_empty_weights

from seesr.checkpoints.files import StateDict, load_strictly, report_mismatch
from seesr.errors import SeesrError
from seesr.models.tagger import Tagger

_RENAMES = (  # (ours, published); applied in order, each at most once a name
    ("visual_encoder.embeddings.patch_embeddings.projection.", "visual_encoder.patch_embed.proj."),
    ("visual_encoder.embeddings.norm.", "visual_encoder.patch_embed.norm."),
    ("visual_encoder.encoder.layers.", "visual_encoder.layers."),
    ("visual_encoder.layernorm.", "visual_encoder.norm."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.o_proj.", ".attn.proj."),
    (".attention.relative_position_bias.relative_position_bias_table", ".attn.relative_position_bias_table"),
    (".attention.q_proj.", ".attn.qkv."),
    (".attention.k_proj.", ".attn.qkv."),
    (".attention.v_proj.", ".attn.qkv."),
)
_HEAD_RENAMES = (
    (".attention.", ".crossattention.self."),
    (".attention_out.", ".crossattention.output.dense."),
    (".attention_norm.", ".crossattention.output.LayerNorm."),
    (".expand.", ".intermediate.dense."),
    (".reduce.", ".output.dense."),
    (".norm.", ".output.LayerNorm."),
)
_UNUSED_PREFIXES = ("tag_encoder.", "text_decoder.")
_UNUSED_BUFFERS = ("relative_position_index", "attn_mask", "position_ids")
_FACTORS = ("lora_A", "lora_B")
PUBLISHED_RANK = 8
"""Of DAPE's LoRA, fixed in the published code; alpha is 1."""
_HEAD_HEADS = 4  # not to be read from any shape; the same in every published RAM


class _Place(NamedTuple):
    """Where one of our tensors lies in the published layout: rows `part` of `parts` equal ones of tensor `name`."""

    name: str
    part: int
    parts: int


def _place(name: str) -> _Place:
    published = name
    if match := re.match(r"head\.(\d+)(\..*)", name):
        rest = match[2]
        for ours, theirs in _HEAD_RENAMES:
            if rest.startswith(ours):
                rest = theirs + rest.removeprefix(ours)
                break
        return _Place(f"tagging_head.encoder.layer.{match[1]}{rest}", 0, 1)
    for ours, theirs in _RENAMES:
        published = published.replace(ours, theirs)
    if match := re.search(r"\.attention\.([qkv])_proj\.", name):
        order = "qv" if "lora" in name else "qkv"  # DAPE leaves the key alone
        return _Place(published, order.index(match[1]), len(order))
    return _Place(published, 0, 1)


def is_unused(name: str) -> bool:
    """Whether a tensor of a published RAM or DAPE file is known to play no part in SeeSR (but see `fold_tied`)."""
    return name.startswith(_UNUSED_PREFIXES) or name.rpartition(".")[2] in _UNUSED_BUFFERS


def from_published(published: Mapping[str, torch.Tensor], names: list[str], origin: Path | str) -> StateDict:
    """The tensors called `names` by `Tagger`, taken from a published RAM or DAPE state dict.

    Raises:
        SeesrError: one is missing, or the file holds one that is neither used nor known to be unused.
    """
    published = {re.sub(r"^vision_multi\.", "tagging_head.", name): t for name, t in published.items()}
    places = {name: _place(name) for name in names}
    wanted = {place.name for place in places.values()}
    spare = [name for name in published if name not in wanted and not is_unused(name)]
    report_mismatch(origin, wanted - published.keys(), spare)
    out = {}
    for name, (source, part, parts) in places.items():
        if published[source].shape and published[source].shape[0] % parts:
            raise SeesrError(f"{origin}: {source} has {published[source].shape[0]} rows, not a multiple of {parts}")
        out[name] = published[source].chunk(parts)[part] if parts > 1 else published[source]
    return out


def to_published(tensors: Mapping[str, torch.Tensor]) -> StateDict:
    """The reverse of `from_published`: `Tagger` tensors (RAM's, LoRA's or both) under their published names.

    LoRA factors of the tag head come out stacked; see `split_tied`.
    """
    rows: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        place = _place(name)
        rows.setdefault(place.name, {})[place.part] = tensor
    return {
        name: torch.cat([parts[i] for i in sorted(parts)]) if len(parts) > 1 else parts[0]
        for name, parts in rows.items()
    }


def _tied(name: str) -> str:
    return name.replace("tagging_head.", "tag_encoder.")


def _rank_axis(name: str) -> int:
    return 0 if name.endswith("lora_A") else 1


def fold_tied(dape: Mapping[str, torch.Tensor]) -> StateDict:
    """DAPE factors with those of the tied cross-attention, where the file has them, stacked onto the tag head's."""
    out = dict(dape)
    for name, factor in dape.items():
        if name.startswith("tagging_head.") and name.endswith(_FACTORS) and _tied(name) in dape:
            out[name] = torch.cat([factor, out.pop(_tied(name))], _rank_axis(name))
    return out


def split_tied(published: Mapping[str, torch.Tensor], rank: int) -> StateDict:
    """The reverse of `fold_tied`; `rank` is that of one pair of factors."""
    out = dict(published)
    for name, factor in published.items():
        if name.startswith("tagging_head.") and name.endswith(_FACTORS):
            own, *tied = factor.split(rank, _rank_axis(name))
            out[name] = own
            out |= {_tied(name): part for part in tied}
    return out


def at_published_rank(factors: Mapping[str, torch.Tensor], rank: int, alpha: float, origin: Path | str) -> StateDict:
    """LoRA factors of a `Tagger` as the published code reads them, rank 8 and alpha 1, with the same products.

    Smaller ranks are filled up with zeros; what the scale differs by goes into lora_B. Factors of the tag head may have
    twice the rank (`fold_tied`).

    Args:
        factors: by the names of `Tagger`; rank, alpha: of its config, the scale being alpha / rank.

    Raises:
        SeesrError: the rank is larger.
    """
    out = {}
    for name, factor in factors.items():
        axis = _rank_axis(name)
        own = factor.shape[axis]
        wanted = PUBLISHED_RANK if own <= PUBLISHED_RANK or not name.startswith("head.") else 2 * PUBLISHED_RANK
        if own > wanted:
            raise SeesrError(
                f"{origin}: its LoRA has rank {own}, and the published code reads {PUBLISHED_RANK}; "
                f"train with lora_rank={PUBLISHED_RANK}"
            )
        filled = factor.new_zeros(wanted, factor.shape[1]) if axis == 0 else factor.new_zeros(factor.shape[0], wanted)
        filled.narrow(axis, 0, own).copy_(factor)
        out[name] = filled if axis == 0 else filled * (alpha / rank * PUBLISHED_RANK)
    return out


def infer_config(ram: Mapping[str, torch.Tensor], origin: Path | str) -> dict[str, Any]:
    """Sizes of the tagger, read from the shapes of a published RAM state dict (which may lie on the meta device).

    Raises:
        SeesrError: the file lacks a tensor that only RAM has: it is a checkpoint of another kind.
    """
    ram = {re.sub(r"^vision_multi\.", "tagging_head.", name): t for name, t in ram.items()}
    first, head = "visual_encoder.layers.0.blocks.0.attn.", "tagging_head.encoder.layer.0."
    needed = [
        "label_embed",
        "image_proj.weight",
        "visual_encoder.patch_embed.proj.weight",
        f"{first}relative_position_bias_table",
        f"{head}intermediate.dense.weight",
    ]
    report_mismatch(f"{origin} (as a RAM checkpoint)", [name for name in needed if name not in ram], [])

    def indices(pattern: str) -> list[int]:
        found = {int(match[1]) for name in ram if (match := re.match(pattern, name))}
        return sorted(found)

    layers = indices(r"visual_encoder\.layers\.(\d+)\.")
    table = "visual_encoder.layers.{}.blocks.0.attn.relative_position_bias_table"
    report_mismatch(origin, [table.format(i) for i in layers if table.format(i) not in ram], [])
    window = (round(ram[table.format(0)].shape[0] ** 0.5) + 1) // 2
    return {
        "image_size": 32 * window,  # Swin: the last stage, at 1/32, is one window wide
        "embed_dim": ram["visual_encoder.patch_embed.proj.weight"].shape[0],
        "depths": [len(indices(rf"visual_encoder\.layers\.{i}\.blocks\.(\d+)\.")) for i in layers],
        "num_heads": [ram[table.format(i)].shape[1] for i in layers],
        "window_size": window,
        "image_embed_dim": ram["image_proj.weight"].shape[0],
        "label_dim": ram["label_embed"].shape[1],
        "head_dim": ram[f"{head}intermediate.dense.weight"].shape[1],
        "head_layers": len(indices(r"tagging_head\.encoder\.layer\.(\d+)\.")),
        "head_heads": _HEAD_HEADS,
        "head_feed_forward_dim": ram[f"{head}intermediate.dense.weight"].shape[0],
    }


def build_tagger(
    ram: StateDict, dape: StateDict | None, tags: list[str], thresholds: list[float], origins: tuple[Path, Path | None]
) -> Tagger:
    """A `Tagger` from published RAM and DAPE tensors, which it shares.

    Args:
        dape: LoRA factors; None for plain RAM.
        origins: the files the two came from, for error messages.

    Raises:
        SeesrError: a tensor is missing, unexpected or mis-shaped, or the tag lists do not fit the checkpoint.
    """
    config = infer_config(ram, origins[0])
    labels = ram["label_embed"].shape[0]
    if not len(tags) == len(thresholds) == labels:
        raise SeesrError(f"{len(tags)} tags and {len(thresholds)} thresholds for a RAM checkpoint of {labels} tags")
    if dape is not None:
        dape = fold_tied(dape)
        encoder = "visual_encoder.layers.0.blocks.0.attn.qkv.lora_B"
        head = "tagging_head.encoder.layer.0.crossattention.self.query.lora_B"
        report_mismatch(f"{origins[1]} (as a DAPE checkpoint)", {encoder, head} - dape.keys(), [])
        config |= {"lora_rank": dape[encoder].shape[1], "head_lora_rank": dape[head].shape[1]}
    with init_empty_weights(include_buffers=False):
        tagger: Tagger = Tagger(tags=tags, thresholds=thresholds, **config)
    names = list(tagger.state_dict())
    lora = [name for name in names if name.endswith(_FACTORS)]
    tensors = from_published(ram, [name for name in names if name not in lora], origins[0])
    if dape is not None:
        tensors |= from_published(dape, lora, origins[1] or "DAPE")
    load_strictly(tagger, tensors, origins[0])
    return tagger
