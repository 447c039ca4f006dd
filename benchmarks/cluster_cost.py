"""What a cluster job takes and costs on 1, 8 and 1,000 GPUs, and what is full first: a small simulation.

    python benchmarks/cluster_cost.py [--measure] [--photos 1000000] [--gpus 1 8 1000] [--side 128] [--price 2.5]

Each process takes batches, as in `seesr.apps.cluster.worker`: the next photo is fetched and decoded, and the last one
encoded, while the GPU works on one; then the batch is put. Photos differ in size, so blocks of them end at different
times. What all share (a machine's network and cores, the storage, the driver) is a flow: where more is asked of it than
it has, all wait in proportion. `--measure` measures decoding, encoding and Ray's driver here. Each field of `Costs`
and `Machines` says whether it is measured, published or assumed.
"""

import argparse
import heapq
import math
import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

BATCH, BLOCKS = 16, 16
SPREAD = 0.5  # standard deviation of the logarithm of a photo's area


@dataclass(frozen=True)
class Costs:
    """Of one photo of middle size. Seconds are of one core, or of one GPU; bytes are of its files."""

    decode: float = 0.0009  # measured: 128 x 128 JPEG, one core of an AMD EPYC
    encode: float = 0.0024  # measured: 512 x 512 JPEG of quality 95
    source: int = 5_600  # measured
    result: int = 60_300  # measured
    gpu: float = 4.3  # published: 512 x 512, 50 steps, one A100 (SeeSR, table of complexity)


@dataclass(frozen=True)
class Machines:
    """Assumed, but for `blocks`."""

    gpus: int = 8  # of a machine
    cores: int = 96
    network: float = 3e9  # bytes a second of a machine
    latency: float = 0.05  # seconds until a storage answers
    gets: float = 5_500  # a second, of a bucket's prefix (published by AWS), and puts
    puts: float = 3_500
    blocks: float = 150  # a second that the driver hands out; measured with empty ones
    start: float = 120  # seconds until a process has its model


def job(
    photos: int, gpus: int, costs: Costs, machines: Machines, draws: random.Random
) -> tuple[float, dict[str, float]]:
    """(seconds, share of each resource that is in use) of a job, one process a GPU."""
    machine = min(gpus, machines.gpus)
    hidden = max(costs.gpu, costs.decode + machines.latency, costs.encode)  # one photo, all stages side by side
    edge = machines.latency * 4 + costs.decode + costs.encode  # of a batch: first photo in, last out, rows, pictures
    rate = 1 / (hidden + edge / BATCH)  # photos a second of a process that waits for nobody
    asked = {
        "GPUs": rate * costs.gpu,
        "cores, decoding and encoding": rate * machine * (costs.decode + costs.encode) / machines.cores,
        "network of a machine": rate * machine * (costs.source + costs.result) / machines.network,
        "requests of the storage": rate * gpus * max(1 / machines.gets, (1 + 1 / BATCH) / machines.puts),
        "driver": rate * gpus / _rows(photos, gpus) / machines.blocks,
    }
    slower = max(1.0, *asked.values())
    return _last(photos, gpus, slower / rate, draws) + machines.start, {k: v / slower for k, v in asked.items()}


def _rows(photos: int, gpus: int) -> int:
    """Photos of a block, as `seesr.apps.cluster.run.in_blocks` makes them."""
    return max(1, photos // (BLOCKS * gpus * BATCH)) * BATCH


def _last(photos: int, gpus: int, seconds: float, draws: random.Random) -> float:
    """When the last process is done: each takes the next block when it has done one."""
    rows = _rows(photos, gpus)
    free = [0.0] * gpus
    heapq.heapify(free)
    for start in range(0, photos, rows):
        count = min(rows, photos - start)
        deviation = math.sqrt((math.exp(SPREAD**2) - 1) / count)  # of the mean of so many areas
        share = max(0.1, float(draws.gauss(1, deviation)))
        heapq.heappush(free, heapq.heappop(free) + count * seconds * share)
    return max(free)


def measure(side: int) -> Costs:
    """Decoding a JPEG of `side` pixels a side and encoding one four times larger, as the job does it, on one core."""
    from seesr.photos.files import write_photo
    from seesr.photos.photo import read_photo

    cat = Image.open(Path(__file__).parents[1] / "examples" / "cat.jpg").convert("RGB")
    with tempfile.TemporaryDirectory() as name:
        source, result = Path(name, "in.jpg"), Path(name, "out.jpg")
        cat.resize((side, side)).save(source, quality=90)
        large = cat.resize((4 * side, 4 * side), Image.Resampling.BICUBIC)
        decode = _seconds(lambda: read_photo(source))
        encode = _seconds(lambda: write_photo(large, result))
        return Costs(decode, encode, source.stat().st_size, result.stat().st_size)


def _seconds(run: object, rounds: int = 20) -> float:
    """Processor time of a call, the median of some."""
    assert callable(run)
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


class Nothing:
    """Takes the place of the work."""

    def __call__(self, batch: object) -> object:
        return batch


def blocks_a_second(count: int = 300) -> float:
    """Blocks that Ray's driver hands out in a second here, to a process that does nothing."""
    import pyarrow as pa
    import ray.data

    from seesr.apps.cluster.rays import ray_running

    with ray_running(None):
        names = [pa.table({"name": [f"{i}-{j}.jpg" for j in range(BATCH)]}) for i in range(count)]
        pool = ray.data.ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=8)
        made = ray.data.from_arrow(names).map_batches(Nothing, batch_size=BATCH, compute=pool, num_cpus=1)
        stamps = [time.perf_counter() for _ in made.iter_batches(batch_size=None)]
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 1000])
    parser.add_argument(
        "--side", type=int, default=128, help="of a photo to measure with; results are four times as large"
    )
    parser.add_argument("--gpu-seconds", type=float, nargs="+", default=[4.3, 0.5, 0.05])
    parser.add_argument("--price", type=float, default=2.5, help="of a GPU for an hour, assumed")
    parser.add_argument("--requests", type=float, default=5.4, help="of a million gets and puts, assumed")
    arguments = parser.parse_args()
    costs, machines = Costs(), Machines()
    if arguments.measure:
        costs = measure(arguments.side)
        machines = replace(machines, blocks=blocks_a_second())
    from seesr.apps.jobs.summary import duration

    print(f"{costs}\n{machines}\n")
    print("| GPU seconds a photo | GPUs | images/s | a million takes | and costs | full first | next |")
    print("|---|---|---|---|---|---|---|")
    for seconds in arguments.gpu_seconds:
        for gpus in arguments.gpus:
            wanted = replace(costs, gpu=seconds)
            took, used = job(arguments.photos, gpus, wanted, machines, random.Random(0))
            full = sorted(used.items(), key=lambda item: -item[1])
            million = took * 1e6 / arguments.photos
            price = million / 3600 * gpus * arguments.price + arguments.requests
            told = [f"{name} ({share:.0%})" for name, share in full[:2]]
            print(
                f"| {seconds:g} | {gpus:,} | {arguments.photos / took:,.3g} | {duration(million)} | ${price:,.0f} "
                f"| {told[0]} | {told[1]} |"
            )


if __name__ == "__main__":
    main()
