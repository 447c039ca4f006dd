"""Measure enlargers on folders of pairs: PSNR-Y, LPIPS, DISTS, NIQE, false texture and detail kept; and show them.

    python benchmarks/enlargers.py runs/x4plus src/seesr/assets/mini/enlarger runs/quick/train/model \\
        --pairs runs/validation/web runs/validation/phone --photos 24 --sheet runs/web.png

Each enlarger is a folder, or `bicubic`; `FOLDER@0.6` is one of two ends at detail 0.6. Pairs are folders with `lr` and
`hr` (benchmarks/validation_set.py). The sheet shows bicubic, each enlarger and the original side by side, at 1:1, the
middle 256 pixels; pairs without `hr` are shown only. Results are on stderr as they come, the table on stdout.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seesr.devices import choose_device, choose_dtype
from seesr.errors import SeesrError
from seesr.metrics.lpips import Lpips
from seesr.metrics.niqe import Niqe
from seesr.metrics.psnr_ssim import psnr
from seesr.metrics.texture import detail_kept, false_texture
from seesr.models.enlargers import load_enlarger
from seesr.photos.pictures import to_tensor
from seesr.training.losses import PerceptualLoss

COLUMNS = ("PSNR-Y", "LPIPS", "DISTS", "NIQE", "false texture", "detail kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("enlargers", nargs="+")
    parser.add_argument("--pairs", nargs="+", type=Path, required=True)
    parser.add_argument("--photos", type=int, help="the first so many of each folder")
    parser.add_argument("--names", nargs="+", help="stems of the photos to take instead")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--side", type=int, default=256, help="of the squares of the sheet, in pixels")
    parser.add_argument("--json", type=Path, help="keep every value in this file")
    parser.add_argument("--bf16", action="store_true", help="LPIPS and DISTS faster, and right to some .001")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = {name: _enlarger(name) for name in options.enlargers}
    score = _scores(options.bf16) if any((folder / "hr").exists() for folder in options.pairs) else None

    found: dict[str, dict[str, list[list[float]]]] = {}
    rows = []
    for folder in options.pairs:
        inputs = folder / "lr" if (folder / "lr").exists() else folder
        files = sorted(file for file in inputs.iterdir() if file.suffix.lower() in (".png", ".jpg"))
        if options.names:
            files = [file for file in files if file.stem in options.names]
        for file in files[: options.photos]:
            lr = to_tensor(Image.open(file).convert("RGB"))
            reference = folder / "hr" / file.name
            clean = to_tensor(Image.open(reference).convert("RGB")) if reference.exists() else None
            pictures = {name: (network(lr).float() * 255).round() / 255 for name, network in networks.items()}
            if clean is not None and score is not None:
                for name, picture in pictures.items():
                    found.setdefault(name, {}).setdefault(folder.name, []).append(score(picture, clean))
                print(folder.name, file.stem, file=sys.stderr, flush=True)
            if options.sheet:
                shown = {"bicubic": _bicubic(lr)} | pictures | ({"original": clean} if clean is not None else {})
                rows.append(np.hstack([_square(name, picture, options.side) for name, picture in shown.items()]))

    if found:
        print(f"| enlarger | pairs | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name, sets in found.items():
        for pairs, values in sets.items():
            cells = (f"{value:.4g}" for value in np.nanmean(np.array(values), axis=0))
            print(f"| {name} | {pairs}, {len(values)} | {' | '.join(cells)} |")
    if options.json:
        options.json.write_text(json.dumps({"columns": COLUMNS, "values": found}))
    if options.sheet:
        width = max(row.shape[1] for row in rows)
        rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
        Image.fromarray(np.vstack(rows)).save(options.sheet)


def _enlarger(name: str) -> Callable[[Tensor], Tensor]:
    if name == "bicubic":
        return _bicubic
    folder, _, detail = name.partition("@")
    network = load_enlarger(folder, choose_dtype("auto", choose_device("cpu")))
    return partial(network.to(memory_format=torch.channels_last).enlarge, detail=float(detail or 1))


def _bicubic(lr: Tensor) -> Tensor:
    return F.interpolate(lr, scale_factor=4, mode="bicubic").clamp(0, 1)


def _scores(bf16: bool) -> Callable[[Tensor, Tensor], list[float]]:
    lpips, perception, niqe = Lpips(), PerceptualLoss(), Niqe()

    def dists(picture: Tensor, clean: Tensor) -> Tensor:
        return perception(picture, clean).dists

    @torch.inference_mode()
    def score(picture: Tensor, clean: Tensor) -> list[float]:
        try:
            natural = float(niqe(picture))
        except SeesrError:  # a flat picture has none
            natural = float("nan")
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            full = [float(metric(picture, clean)) for metric in (psnr, lpips, dists)]
        return [*full, natural, float(false_texture(picture, clean)), float(detail_kept(picture, clean))]

    return score


def _square(name: str, picture: Tensor, side: int) -> np.ndarray:
    height, width = picture.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    part = picture[0, :, top : top + side, left : left + side]
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[: part.shape[1], : part.shape[2]] = (part.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    shown = Image.fromarray(pixels)
    label = Path(name).name if Path(name).name != "model" else Path(name).parent.name
    font = ImageFont.load_default(13)
    ImageDraw.Draw(shown).text((4, 2), label, "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(shown)


if __name__ == "__main__":
    main()
