"""Make a bank of degraded crops, see `seesr.training.bank`.

    python -m seesr.training.make_bank --config configs/mini/compact.yaml --teacher src/seesr/assets/mini/enlarger \\
        --samples 4096 -o runs/quick/bank

Sample n of a bank is a pure function of the config and of n: an interrupted command goes on where it stopped, a larger
`--samples` adds to what is there, and two processes may make a half each.
"""

import argparse
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file

from seesr.data.samples import SCALE, Crops, load_photos
from seesr.devices import choose_device, choose_dtype
from seesr.models.enlargers import load_enlarger
from seesr.training.bank import SHARD, SIDE
from seesr.training.config import load_config
from seesr.training.stages.enlarger import Degrader, EnlargerConfig

logger = logging.getLogger(__name__)

_AT_ONCE = 8  # samples that the teacher sees


@torch.no_grad()
def make_bank(config: EnlargerConfig, samples: int, output: Path, teacher: Path | None = None, half: int = 0) -> None:
    """Write those shards of the first `samples` samples into `output` that are missing.

    Args:
        config: what photos are cut and how they are degraded; its `crop` is not used.
        samples: rounded up to whole shards.
        teacher: folder of an enlarger, whose answers are kept as `taught`.
        half: 1 or 2 makes the first or second half of the shards only, 0 all.

    Raises:
        SeesrError: a mistake in the config or the photos.
    """
    output.mkdir(parents=True, exist_ok=True)
    device = choose_device("auto")
    network = None
    if teacher:
        network = load_enlarger(teacher, choose_dtype("auto", device)).to(device)
    photos = load_photos(config.photos, SCALE * SIDE, small=config.small_photos, memory_gb=config.memory_gb)
    crops = Crops(photos, SCALE * SIDE, config.seed, jitter=config.scale_jitter)
    degrader = Degrader(config)
    count = -(-samples // SHARD)
    shards = {0: range(count), 1: range(0, count, 2), 2: range(1, count, 2)}[half]
    for shard in shards:
        file = output / f"{shard:05d}.safetensors"
        if file.exists():
            continue
        drawn = [crops[number] for number in range(shard * SHARD, (shard + 1) * SHARD)]
        hr, seeds = (torch.stack([sample[name] for sample in drawn]) for name in ("hr", "seed"))
        lr, target = degrader(hr, seeds)
        pictures = {"lr": lr, "hr": target}
        if network:
            pictures["taught"] = torch.cat(
                [network.enlarge(part.to(device)).cpu() for part in torch.split(lr, _AT_ONCE)]
            )
        unfinished = output / f".seesr-{file.name}.part"
        save_file({name: (picture * 255).round().byte().contiguous() for name, picture in pictures.items()}, unfinished)
        unfinished.replace(file)
        logger.info("shard %d of %d", shard + 1, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings instead of the config's")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--half", type=int, choices=(1, 2), default=0, help="every second shard only, from that one on")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = load_config(EnlargerConfig, options.config, options.set)
    if config.threads:
        torch.set_num_threads(config.threads)
    make_bank(config, options.samples, options.output, options.teacher, options.half)


if __name__ == "__main__":
    main()
