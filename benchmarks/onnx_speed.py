"""Enlargers in PyTorch and in ONNX Runtime on the CPU, one tile, in turns: the fastest of some runs.

    python benchmarks/onnx_speed.py --side 128 --threads 2 --runs 5

The embedded enlarger and a compact one of random weights, whose time is that of trained ones. Turns, because a
machine's speed changes; the fastest, because other work only makes runs slower.
"""

import argparse
import time
from collections.abc import Callable

import onnxruntime
import torch

from seesr.checkpoints.registry import resolve
from seesr.export.graphs import INPUT, EnlargerPart, to_onnx
from seesr.models.compact_enlarger import CompactEnlarger
from seesr.models.enlargers import load_enlarger
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.system.machine import hardware


def ways(network: TiledEnlarger, photo: torch.Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """The network on the photo, in each of the columns of the table."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = to_onnx(EnlargerPart(network), {})
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pixels = photo.contiguous().numpy()
    found: dict[str, Callable[[], object]] = {"ONNX Runtime float32": lambda: session.run(None, {INPUT: pixels})}
    for dtype in (torch.float32, torch.bfloat16):
        part = type(network).from_config(network.config)
        part.load_state_dict(network.state_dict())
        part.to(dtype=dtype, memory_format=torch.channels_last).eval()
        found[f"PyTorch {str(dtype).removeprefix('torch.')}"] = lambda part=part: part.enlarge(photo)  # type: ignore[misc]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128, help="of the photo, in pixels")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photo = torch.rand(1, 3, options.side, options.side).contiguous(memory_format=torch.channels_last)
    networks = {"compact, 32 convolutions": CompactEnlarger(), "embedded": load_enlarger(resolve("mini") / "enlarger")}
    tried = {(name, way): run for name in networks for way, run in ways(networks[name], photo, options.threads).items()}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in tried}
    for _ in range(options.runs + 1):  # the first warms up
        for key, run in tried.items():
            start = time.perf_counter()
            run()
            seconds[key].append(time.perf_counter() - start)
    columns = list(dict.fromkeys(way for _, way in tried))
    print(f"{options.side}x{options.side} to four times that; {hardware()}")
    print(f"| enlarger | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in networks:
        print(f"| {name} | {' | '.join(f'{min(seconds[name, way][1:]):.3f} s' for way in columns)} |")


if __name__ == "__main__":
    main()
