"""The embedded enlargers in PyTorch, ONNX Runtime, OpenVINO and ncnn on the CPU: time for one tile, and how far apart.

    pip install 'seesr[export]' openvino ncnn pnnx        # those that are missing are left out
    python benchmarks/runtimes.py --engines quick fine --side 96 --threads 2 --runs 4

A piece of a photo of this repository; in turns, because a machine's speed changes; the fastest, because other work only
makes runs slower. int8 is ONNX Runtime's static quantisation, of which 8 other pieces of the photo give the ranges;
OpenVINO runs the same graph. Differences are to PyTorch in float32, in levels of 255.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from seesr.checkpoints.registry import resolve
from seesr.devices import choose_dtype
from seesr.export.graphs import INPUT, EnlargerPart, to_onnx
from seesr.models.enlargers import load_enlarger
from seesr.models.tiled_enlarger import TiledEnlarger, anchored
from seesr.photos.pictures import to_tensor
from seesr.system.machine import hardware

FOLDERS = {"quick": "quick", "fine": "enlarger"}
PHOTO = Path(__file__).parent.parent / "examples" / "cat.jpg"

Run = Callable[[], Any]


class Bare(nn.Module):
    """The network alone, without clamp and anchor, for ncnn."""

    def __init__(self, network: TiledEnlarger) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():  # then in one piece
            found: torch.Tensor = self.network.forward(image)
        return found


def pytorch(network: TiledEnlarger, pieces: torch.Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    torch.set_num_threads(threads)
    units = choose_dtype("auto", torch.device("cpu")) == torch.bfloat16  # elsewhere it takes minutes
    for dtype in (torch.float32, torch.bfloat16)[: 1 + units]:
        part = type(network).from_config(network.config)
        part.load_state_dict(network.state_dict())
        part.to(dtype=dtype, memory_format=torch.channels_last).eval()
        photo = pieces[:1].contiguous(memory_format=torch.channels_last)

        def run(part: Any = part, photo: torch.Tensor = photo) -> Any:
            return part.enlarge(photo).float().numpy()

        yield f"PyTorch {str(dtype).removeprefix('torch.')}", run


def onnx_runtime(graphs: dict[str, Path], pieces: torch.Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    import onnxruntime

    pixels = pieces[:1].numpy()
    for name, file in graphs.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        yield f"ONNX Runtime {name}", lambda session=session: session.run(None, {INPUT: pixels})[0]


def openvino(graphs: dict[str, Path], pieces: torch.Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    import openvino  # type: ignore[import-not-found]

    core, pixels = openvino.Core(), pieces[:1].numpy()
    capable = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for name, precision in (("float32", "f32"), ("bfloat16", "bf16"), ("int8", "f32")):
        if name == "bfloat16" and "BF16" not in capable:
            continue
        model = core.read_model(graphs["int8" if name == "int8" else "float32"])
        model.reshape(list(pixels.shape))
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(model, "CPU", hints)
        yield f"OpenVINO {name}", lambda compiled=compiled: next(iter(compiled(pixels).values()))


def ncnn(network: TiledEnlarger, folder: Path, pieces: torch.Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    import ncnn as runtime
    import pnnx  # type: ignore[import-not-found]

    photo, name = pieces[:1], folder / "bare.pt"
    with hushed():
        pnnx.export(Bare(network), str(name), photo)
    for title, half in (("float32", False), ("bfloat16", True)):
        net = runtime.Net()
        net.opt.num_threads = threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = half
        net.load_param(str(name.with_suffix(".ncnn.param")))
        net.load_model(str(name.with_suffix(".ncnn.bin")))
        pixels = np.ascontiguousarray(photo[0].numpy())

        def run(net: Any = net, pixels: Any = pixels) -> Any:
            with net.create_extractor() as extractor:
                extractor.input("in0", runtime.Mat(pixels))
                enlarged = torch.from_numpy(np.array(extractor.extract("out0")[1]))[None].clamp_(0, 1)
            return anchored(enlarged, photo, network.anchor).numpy() if network.anchor else enlarged.numpy()

        yield f"ncnn {title}", run


@contextmanager
def hushed() -> Iterator[None]:
    """Without what programs written in C++ print."""
    kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        for number, file in enumerate(kept, 1):
            os.dup2(file, number)
            os.close(file)
        os.close(nowhere)


def quantised(graph: Path, pieces: torch.Tensor) -> Path:
    """The graph with weights of 8 bits a channel, and activations of 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Pieces(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(pieces[1:].numpy())

        def get_next(self) -> Any:
            piece = next(self.left, None)
            return None if piece is None else {INPUT: piece[None]}

    result = graph.with_suffix(".int8.onnx")
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(graph), str(result), Pieces(), per_channel=True, op_types_to_quantize=["Conv"], **types)
    return result


def pieces_of(photo: Path, side: int) -> torch.Tensor:
    """(9, 3, side, side): the middle of the photo, and eight places elsewhere."""
    pixels = to_tensor(Image.open(photo).convert("RGB"))
    height, width = pixels.shape[-2:]
    if min(height, width) < side:
        raise SystemExit(f"{photo} is smaller than {side} pixels")
    draws = np.random.default_rng(0).integers(0, (height - side + 1, width - side + 1), (8, 2))
    places = [((height - side) // 2, (width - side) // 2), *draws]
    return torch.cat([pixels[..., top : top + side, left : left + side] for top, left in places])


def ways(engine: str, pieces: torch.Tensor, threads: int, folder: Path) -> dict[str, Run]:
    """The enlarger on the first of `pieces`, in each runtime that is installed."""
    network = load_enlarger(resolve("mini") / FOLDERS[engine])
    network.ends = None
    found = dict(pytorch(network, pieces, threads))
    with suppress(ImportError):
        graph = folder / f"{engine}.onnx"
        graph.write_bytes(to_onnx(EnlargerPart(network), {}))
        graphs = {"float32": graph, "int8": quantised(graph, pieces)}
        found |= onnx_runtime(graphs, pieces, threads)
        with suppress(ImportError):
            found |= openvino(graphs, pieces, threads)
    with suppress(ImportError):
        found |= ncnn(network, folder, pieces, threads)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=FOLDERS, default=["quick"])
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--side", type=int, default=96, help="of the piece, in pixels")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    pieces = pieces_of(options.photo, options.side)
    print(f"{options.side}x{options.side} to four times that, {options.threads} threads; {hardware()}")
    print("| engine | runtime | seconds | times PyTorch's | mean difference | largest |\n|---|---|---|---|---|---|")
    for engine in options.engines:
        folder = Path(tempfile.mkdtemp())
        try:
            tried = ways(engine, pieces, options.threads, folder)
            seconds: dict[str, list[float]] = {name: [] for name in tried}
            pictures: dict[str, Any] = {}
            for _ in range(options.runs + 1):  # the first warms up
                for name, run in tried.items():
                    start = time.perf_counter()
                    pictures[name] = run()
                    seconds[name].append(time.perf_counter() - start)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        first = next(iter(tried))
        for name in tried:
            apart = 255 * np.abs(pictures[name].clip(0, 1) - pictures[first])
            best, base = (min(seconds[each][1:]) for each in (name, first))
            print(f"| {engine} | {name} | {best:.3f} | {base / best:.2f} | {apart.mean():.3f} | {apart.max():.1f} |")


if __name__ == "__main__":
    main()
