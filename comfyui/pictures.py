"""ComfyUI's IMAGE and MASK, and the pictures of seesr."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seesr.errors import SeesrError


def photos_of(image: Tensor) -> list[Tensor]:
    """IMAGE, (B, H, W, C) in [0, 1], as B photos (3, H, W) in [0, 1]; more than three channels are dropped.

    Raises:
        SeesrError: another shape, or NaN.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise SeesrError(f"an image of shape {tuple(image.shape)} is no batch of pictures (B, H, W, 3)")
    if not torch.isfinite(image).all():
        raise SeesrError("the image holds NaN or infinity; the node before this one has failed")
    colour = image[..., :3].float().clamp(0, 1).movedim(-1, 1).cpu()  # (B, C, H, W)
    return list(colour.expand(-1, 3, -1, -1).unbind())


def image_of(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures (H, W, 3) of uint8 or uint16, all of one size, as IMAGE: (B, H, W, 3), float32 in [0, 1]."""
    levels = [np.iinfo(picture.dtype).max for picture in pictures]
    return torch.stack([torch.from_numpy(p.astype(np.float32) / top) for p, top in zip(pictures, levels)])


def one_size(sheets: Sequence[Image.Image], ground: tuple[int, int, int]) -> list[np.ndarray]:
    """RGB pictures, each continued by `ground` at the right and below to the size of the largest: (H, W, 3), uint8."""
    size = max(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)
    grounds = [Image.new("RGB", size, ground) for _ in sheets]
    for whole, sheet in zip(grounds, sheets):
        whole.paste(sheet)
    return [np.asarray(whole) for whole in grounds]


def only_here(restored: Tensor, photos: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The restored pictures where the mask is 1, the photos merely enlarged where it is 0, blended between.

    Args:
        restored: IMAGE, (B, H, W, 3).
        photos: B of (3, h, w).
        mask: MASK, (B, h, w), (1, h, w) or (h, w), of any size, in [0, 1].
    """
    masks = mask.float().cpu().reshape(-1, 1, *mask.shape[-2:])
    size = restored.shape[1], restored.shape[2]
    share = F.interpolate(masks, size, mode="bilinear", antialias=True).clamp(0, 1).movedim(1, -1)  # (B or 1, H, W, 1)
    plain = torch.cat([resized(photo[None], size) for photo in photos]).movedim(1, -1)
    return torch.lerp(plain, restored, share)


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, h, w) brought to `size` (height, width) bicubically, in [0, 1]."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(0, 1)
