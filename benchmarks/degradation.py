"""Throughput of the degradation per preset, and how far the torch JPEG is from the real codec.

    python benchmarks/degradation.py [SHARD.tar ...] [--threads N] [--device cuda]

Shards are WebDataset tars of photos; without one, random fields with a photo-like 1/f spectrum stand in.
"""

import argparse
import io
import math
import tarfile
import time
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesr.degradation import PRESETS, Degradation, jpeg_pillow, jpeg_torch, preset

SIDE = 512


def photos(shards: list[str], count: int) -> Tensor:
    """(count, 3, 512, 512) in [0, 1], the centres of the first photos that are big enough."""
    images: list[Tensor] = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith((".webp", ".jpg", ".png")) and len(images) < count:
                    stream = tar.extractfile(member)
                    assert stream is not None
                    pixels = np.array(Image.open(io.BytesIO(stream.read())).convert("RGB"))
                    top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
                    if top >= 0 and left >= 0:
                        crop = torch.from_numpy(pixels[top : top + SIDE, left : left + SIDE])
                        images.append(crop.permute(2, 0, 1).float() / 255)
    return torch.stack(images) if images else one_over_f(count)


def one_over_f(count: int) -> Tensor:
    """(count, 3, 512, 512) random fields with amplitude 1/f, channels correlated as in photos."""
    torch.manual_seed(0)
    frequency = torch.hypot(torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)).clamp(min=1 / SIDE)
    spectrum = torch.fft.rfft2(torch.randn(count, 3, SIDE, SIDE)) / frequency
    fields = torch.fft.irfft2(spectrum)
    fields = fields + 3 * fields.mean(1, keepdim=True)
    return (0.5 + 0.2 * fields / fields.std((1, 2, 3), keepdim=True)).clamp(0, 1)


def throughput(hr: Tensor, name: str, codec: Literal["pillow", "torch"], seconds: float = 4.0) -> float:
    """Samples per second, in batches of 16."""
    degrade = Degradation(replace(preset(name), jpeg_codec=codec))
    degrade(hr[:2], torch.arange(2))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        degrade(hr, torch.arange(done, done + len(hr)))
        done += len(hr)
    if hr.is_cuda:
        torch.cuda.synchronize()
    return done / (time.perf_counter() - start)


def decibels(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="*")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = photos(arguments.shards, 16).to(arguments.device)

    print(f"samples/s on {arguments.device}, {arguments.threads} CPU threads, batches of {len(images)}")
    print(f"{'preset':<14}{'160 px':>9}{'512 px':>9}{'160 px, torch JPEG':>21}")
    for name in PRESETS:
        small = images[..., 176:336, 176:336].contiguous()
        figures = [throughput(small, name, "pillow"), throughput(images, name, "pillow")]
        figures.append(throughput(small, name, "torch"))
        print(f"{name:<14}{figures[0]:>9.1f}{figures[1]:>9.1f}{figures[2]:>21.1f}")

    print("\nJPEG, PSNR in dB (RGB, mean squared error pooled over the images)")
    print(f"{'quality':<9}{'torch to codec':>16}{'codec to original':>20}{'equal values':>15}")
    for quality in (10, 30, 50, 70, 85, 95, 100):
        codec = torch.stack([jpeg_pillow(image, quality) for image in images])
        ours = torch.stack([jpeg_torch(image, quality) for image in images])
        equal = ((codec - ours).abs() < 0.5 / 255).float().mean().item()
        print(f"{quality:<9}{decibels(codec, ours):>16.1f}{decibels(codec, images):>20.1f}{equal:>14.0%}")


if __name__ == "__main__":
    main()
