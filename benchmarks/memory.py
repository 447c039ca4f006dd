"""Are tiles seen, and does memory stay flat? Tiled against whole, and peak memory by size of the result.

    python benchmarks/memory.py seams [--part vae] [--megapixels 1]  difference along tile borders and elsewhere
    python benchmarks/memory.py peak --part diffusion --megapixels 1 4 16 64 [--memory 2GB]    one row a size
    python benchmarks/memory.py plot                                 docs/images/memory.png from docs/memory.csv

`peak` runs each restoration in a process of its own and adds its row to docs/memory.csv. That memory does not grow with
the picture does not depend on how wide the networks are, so narrow ones with random weights, of the same kinds and
through the same code, stand in for those that would take hours at 64 megapixels on one core:

- `mini`: the embedded model's enlarger as it is, in the number format that suits the machine.
- `enlarger`: one block of the same width as the embedded model's 23; `narrow-enlarger`: 8 channels wide.
- `diffusion`: tagger, ControlNet and UNet of tests/data/upstream_tiny, an AutoencoderKL of width 8, one step, AdaIN.
- `narrow-diffusion`: the same stages, with a UNet and ControlNet 8 channels wide and an `Autoencoder` 8 wide.

`seams` compares the autoencoders (`vae`), enlargers (`enlarger`, `mini`) and, by whole restorations with the embedded
model's profile `diffusion`, the tiles of the denoiser (`paper`).
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesr import SeeSRPipeline
from seesr.devices import choose_dtype
from seesr.loading import load_restorer
from seesr.models.autoencoder import Autoencoder
from seesr.models.enlarger import OVERLAP, SCALE, TILE, Enlarger
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.photos.pictures import to_tensor
from seesr.restoration.restorer import Restorer
from seesr.restoration.settings import Settings
from seesr.tiling.geometry import LATENT_FACTOR, Tile, even_starts, partition, plan_tiles
from seesr.tiling.vae import decode, encode

ROOT = Path(__file__).resolve().parents[1]
ROWS, PLOT = ROOT / "docs" / "memory.csv", ROOT / "docs" / "images" / "memory.png"
FIELDS = ("part", "megapixels", "limit", "seconds", "loaded_mb", "peak_mb")
VAE_SIDE = 64  # latent pixels of a tile
NEAR = 8  # pixels: what counts as along a border


def photo(width: int, height: int) -> Image.Image:
    """The examples side by side and mirrored, over and over."""
    tiles = [Image.open(path).convert("RGB") for path in sorted((ROOT / "examples").glob("*.jpg"))]
    side = min(min(image.size) for image in tiles)
    rows = []
    for y in range(0, height, side):
        row = [tiles[(x // side + y // side) % len(tiles)].crop((0, 0, side, side)) for x in range(0, width, side)]
        rows.append(np.concatenate([np.asarray(image) for image in row], 1))
    return Image.fromarray(np.concatenate(rows)[:height, :width])


def sides(megapixels: float) -> tuple[int, int]:
    """Width and height of a 4:3 result, multiples of 32."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5 / 32) * 32
    return round(megapixels * 1e6 / height / 32) * 32, height


# ---------------------------------------------------------------------------------------------------------- the models


def random_vae() -> torch.nn.Module:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    )
    return vae.eval()  # not channels-last, in which PyTorch's own group normalisation errs by 1e-3 on the CPU


def narrow_networks(config: Any) -> dict[str, torch.nn.Module]:
    """UNet, ControlNet and autoencoder for the tagger and text tower that `config`, a UNet's, belongs to."""
    shape: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": config.cross_attention_dim,
        "image_embed_dim": config.image_embed_dim,
    }
    unet = SemanticUNet(up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **shape)
    controlnet = SemanticControlNet(conditioning_embedding_out_channels=(4, 4, 4, 4), **shape)
    vae = Autoencoder(latent_channels=4, channels=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1, 1))
    return {"unet": unet.eval(), "controlnet": controlnet.eval(), "vae": vae.eval()}


def make(part: str) -> tuple[Restorer, dict[str, object]]:
    """A restorer and the arguments to call it with."""
    if part == "mini":
        device = torch.device("cpu")
        return load_restorer("mini", choose_dtype("auto", device), device, "fast"), {"profile": "fast"}
    torch.manual_seed(0)
    if part.endswith("enlarger"):
        narrow = {"num_blocks": 0, "channels": 8, "growth": 4} if part.startswith("narrow") else {"num_blocks": 1}
        enlarger = Enlarger(**narrow).eval().to(memory_format=torch.channels_last)
        return SeeSRPipeline(enlarger=enlarger, default_profile="fast"), {}
    from seesr.checkpoints.upstream import convert

    data, folder = ROOT / "tests" / "data" / "upstream_tiny", Path(tempfile.gettempdir()) / "seesr-memory-model"
    if not folder.exists():
        files = {"ram": "ram_swin_large_14m.pth", "dape": "DAPE.pth", "tags": "ram_tag_list.txt"}
        paths = {name: data / file for name, file in files.items()}
        convert(
            base=data / "base",
            seesr=data / "seesr",
            thresholds=data / "ram_tag_list_threshold.txt",
            **paths,
            out=folder,
            turbo=False,
            dtype=None,
        )
    pipeline = SeeSRPipeline.from_pretrained(str(folder))
    pipeline.register_modules(vae=random_vae())
    if part == "narrow-diffusion":
        pipeline.register_modules(**narrow_networks(pipeline.unet.config))
    settings = Settings(
        num_inference_steps=1,
        guidance_scale=1.0,
        latent_tile_size=48,
        latent_tile_overlap=16,
        tile_blend="cosine",
        vae_tile_size=512,
    )
    pipeline.register_to_config(profiles={"benchmark": settings.to_dict()}, default_profile="benchmark")
    return pipeline, {}


# --------------------------------------------------------------------------------------------------------------- seams


def report(what: str, tiled: torch.Tensor, whole: torch.Tensor, border: torch.Tensor) -> None:
    """Difference of two pictures, (1, 3, h, w) in [0, 1], in 8-bit levels; `border`, (h, w): what is near a border."""
    difference = (tiled.clamp(0, 1) - whole.clamp(0, 1)).abs().mul(255).amax((0, 1))
    along, elsewhere = difference[border], difference[~border]
    print(
        f"{what}: along borders mean {along.mean():.2g} max {along.max():.2g}, "
        f"elsewhere mean {elsewhere.mean():.2g} max {elsewhere.max():.2g} of 255",
        flush=True,
    )


def near(height: int, width: int, rows: list[int], columns: list[int]) -> torch.Tensor:
    """Which pixels are within `NEAR` of one of the lines."""
    border = torch.zeros(height, width, dtype=torch.bool)
    for line in rows:
        border[max(0, line - NEAR) : line + NEAR] = True
    for line in columns:
        border[:, max(0, line - NEAR) : line + NEAR] = True
    return border


def vae_seams(name: str, vae: torch.nn.Module, picture: Image.Image) -> None:
    """There and back, in tiles and in one piece."""
    width, height = (side // LATENT_FACTOR for side in picture.size)

    def cut(area: Tile) -> torch.Tensor:
        return to_tensor(picture.crop(area.box)) * 2 - 1

    def there_and_back(side: int) -> torch.Tensor:
        ignore = lambda done, total: None  # noqa: E731
        latents = encode(vae, cut, height, width, side, 1 << 29, ignore)
        result = torch.empty(1, 3, *(side * LATENT_FACTOR for side in (height, width)))
        for place, values in decode(vae, latents, side, 1 << 29, ignore):
            place.of(result, LATENT_FACTOR).copy_(values / 2 + 0.5)
        return result

    tiles = partition(height, width, VAE_SIDE)
    rows, columns = (
        [f * LATENT_FACTOR for f in {a for a in starts if a}] for starts in zip(*((t.top, t.left) for t in tiles))
    )
    border = near(picture.height, picture.width, rows, columns)
    report(f"{name}, {len(tiles)} tiles", there_and_back(VAE_SIDE), there_and_back(0), border)


def enlarger_seams(name: str, enlarger: Enlarger, picture: Image.Image) -> None:
    small = to_tensor(picture.resize((picture.width // SCALE, picture.height // SCALE), Image.Resampling.BICUBIC))
    height, width = small.shape[-2:]

    def middles(size: int) -> list[int]:
        starts = even_starts(size, TILE, OVERLAP)
        return [SCALE * (second + first + TILE) // 2 for first, second in pairwise(starts)]

    border = near(SCALE * height, SCALE * width, middles(height), middles(width))
    report(name, enlarger.enlarge(small), enlarger.enlarge(small, tile=max(height, width)), border)


def denoiser_seams(small: Image.Image, steps: int) -> None:
    """Restored with the denoiser's tiles and without; borders are all edges of tiles."""
    pipeline = SeeSRPipeline.from_pretrained("mini")
    settings = pipeline.profile("diffusion")
    width, height = (side * SCALE // LATENT_FACTOR for side in small.size)
    tiles = plan_tiles(height, width, settings.latent_tile_size, settings.latent_tile_overlap, settings.tile_blend)

    def restored(tile: int) -> torch.Tensor:
        options = {"num_inference_steps": steps, "latent_tile_size": tile, "output_type": "pt"}
        return pipeline(small, profile="diffusion", **options).images[0]

    rows = {LATENT_FACTOR * edge for t in tiles for edge in (t.top, t.top + t.height) if 0 < edge < height}
    columns = {LATENT_FACTOR * edge for t in tiles for edge in (t.left, t.left + t.width) if 0 < edge < width}
    border = near(LATENT_FACTOR * height, LATENT_FACTOR * width, list(rows), list(columns))
    tiled, whole = restored(settings.latent_tile_size)[None], restored(max(height, width))[None]
    report(f"denoiser (paper, {steps} steps), {len(tiles)} tiles", tiled, whole, border)


@torch.inference_mode()
def seams(megapixels: float, parts: list[str], steps: int) -> None:
    width, height = sides(megapixels)
    picture = photo(width, height)
    print(f"{width}x{height}")
    if "vae" in parts:
        mini = Autoencoder.from_pretrained(ROOT / "src" / "seesr" / "assets" / "mini" / "vae").eval()
        vae_seams("embedded autoencoder", mini, picture)
        vae_seams("AutoencoderKL of width 8, random", random_vae(), picture)
    for part in {"enlarger", "mini"} & set(parts):
        enlarger_seams(f"enlarger ({part})", make(part)[0].enlarger, picture)
    if "paper" in parts:
        denoiser_seams(picture.resize((width // SCALE, height // SCALE), Image.Resampling.BICUBIC), steps)


# ---------------------------------------------------------------------------------------------------------------- peak


def resident_mb() -> tuple[float, float]:
    """Memory of this process, now and at most, in MB."""
    import resource

    now = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return now / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def one(part: str, megapixels: float, limit: str | None) -> None:
    """Restore once, and print the row; the process is this one's alone."""
    pipeline, arguments = make(part)
    width, height = sides(megapixels)
    small = photo(width // SCALE, height // SCALE)
    loaded, _ = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    start = time.perf_counter()
    output = pipeline(small, memory=limit, **arguments)
    assert output.images[0].size == (width, height)
    print(output.timings[0], file=sys.stderr)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    seconds, peak_mb = time.perf_counter() - start, int(peak.split()[1]) * 1024 / 1e6
    row = (part, f"{megapixels:g}", limit or "", f"{seconds:.0f}", f"{loaded:.0f}", f"{peak_mb:.0f}")
    print(",".join(row))


def peaks(part: str, sizes: list[float], limit: str | None, timeout: float) -> None:
    for megapixels in sizes:
        command = [sys.executable, __file__, "one", "--part", part, "--megapixels", str(megapixels)]
        command += ["--memory", limit] if limit else []
        try:
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=timeout, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"{part} at {megapixels:g} megapixels: {error}", file=sys.stderr)
            return
        row = run.stdout.strip().splitlines()[-1]
        print(row, flush=True)
        with ROWS.open("a") as file:
            file.write(row + "\n")


def plot() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def lines() -> Iterator[tuple[str, list[dict[str, str]]]]:
        with ROWS.open() as file:
            rows = list(csv.DictReader(file))
        for key in dict.fromkeys((row["part"], row["limit"]) for row in rows):
            chosen = [row for row in rows if (row["part"], row["limit"]) == key]
            yield (
                f"{key[0]}, --memory {key[1]}" if key[1] else key[0],
                sorted(chosen, key=lambda r: float(r["megapixels"])),
            )

    figure, axes = plt.subplots(figsize=(7, 4), dpi=100)
    for label, rows in lines():
        sizes = [float(row["megapixels"]) for row in rows]
        drawn = axes.plot(sizes, [float(row["peak_mb"]) for row in rows], "o-", label=label)[0]
        held = 8 if "diffusion" in label else 4  # bytes a pixel: the enlarged and the restored picture, or the result
        working = [float(r["peak_mb"]) - held * float(r["megapixels"]) for r in rows]
        axes.plot(sizes, working, ":", color=drawn.get_color(), linewidth=1)
    axes.set_xscale("log", base=4)
    axes.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
    axes.set_ylim(0)
    axes.set_xlabel("megapixels of the result")
    axes.set_ylabel("peak memory of the process, MB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, title="dotted: without the pictures themselves", title_fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOT)
    Image.open(PLOT).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(PLOT, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("seams", "peak", "one", "plot"))
    parser.add_argument(
        "--part", nargs="+", default=["vae"], help="what to measure; see above. For seams: vae, enlarger, mini, paper"
    )
    parser.add_argument("--steps", type=int, default=4, help="of the denoiser, for its seams")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[1.0])
    parser.add_argument("--memory", help="limit, as for seesr upscale")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one restoration")
    options = parser.parse_args()
    if options.what == "plot":
        plot()
    elif options.what == "one":
        one(options.part[0], options.megapixels[0], options.memory)
    elif options.what == "peak":
        if not ROWS.exists():
            ROWS.write_text(",".join(FIELDS) + "\n")
        for part in options.part:
            peaks(part, options.megapixels, options.memory, options.timeout)
    else:
        for megapixels in options.megapixels:
            seams(megapixels, options.part, options.steps)


if __name__ == "__main__":
    main()
