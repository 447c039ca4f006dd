"""Many visitors at once: every accepted request gets its own result, the others are told when to come back.

    python benchmarks/web_load.py --clients 50 --seconds 120

Starts the server with the embedded model, lets clients send small photos, each of one colour of its own, without a
pause, and checks every picture that comes back by its colour. Prints accepted, refused and wrong answers, pictures a
second, waiting times and the server's memory before and after; at the end the queue must be empty and no file left.
"""

import argparse
import colorsys
import io
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import torch
from PIL import Image, ImageStat

from seesr.apps.web.job_queue import Queue
from seesr.apps.web.jobs import Limits
from seesr.apps.web.server import Access, make_server, serve
from seesr.devices import choose_dtype
from seesr.loading import load_restorer

FARTHEST = 12  # mean levels of 255 that the enlarger may change a flat colour by


@dataclass
class Counts:
    """What the clients met."""

    right: int = 0
    busy: int = 0
    wrong: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def color_of(client: int, clients: int) -> tuple[int, ...]:
    """A colour that no other client has."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(client / clients, 0.6, 0.7))


def visit(address: str, client: int, clients: int, until: float, counts: Counts) -> None:
    """Send photos until the time is over."""
    color, content = color_of(client, clients), io.BytesIO()
    Image.new("RGB", (32, 32), color).save(content, "PNG")
    with httpx.Client(base_url=address, timeout=300) as http:
        while time.monotonic() < until:
            began = time.monotonic()
            answer = http.post("/v1/restore", files={"photo": content.getvalue()})
            if answer.status_code == 503:
                pause = int(answer.headers["retry-after"])
                with counts.lock:
                    counts.busy += 1
                time.sleep(min(pause, max(0.0, until - time.monotonic())))
                continue
            problem = _problem(answer, color)
            with counts.lock:
                counts.waits.append(time.monotonic() - began)
                counts.right += not problem
                counts.wrong += [problem] if problem else []


def _problem(answer: httpx.Response, color: tuple[int, ...]) -> str:
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:120]}"
    seen = ImageStat.Stat(Image.open(io.BytesIO(answer.content)).convert("RGB")).mean
    off = max(abs(a - b) for a, b in zip(seen, color))
    return f"another's picture: {seen} for {color}" if off > FARTHEST else ""


def run(clients: int, seconds: float) -> tuple[Counts, dict[str, Any]]:
    """The whole test; counts, and figures of the server."""
    cpu = torch.device("cpu")
    restorer = load_restorer("mini", choose_dtype("auto", cpu), cpu, profile="fast")
    counts, process = Counts(), psutil.Process()
    limits = Limits(waiting=16, per_visitor=10_000)
    with Queue(limits) as queue, serve(make_server(restorer, queue, Access(port=0)), queue, Access(port=0)) as address:
        visit(address, 0, clients, time.monotonic() + 2, Counts())  # warm
        before, until = process.memory_info().rss, time.monotonic() + seconds
        threads = [
            threading.Thread(target=visit, args=(address, client, clients, until, counts)) for client in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        figures = {
            "memory before": before,
            "memory after": process.memory_info().rss,
            "queue": queue.length,
            "folders left": sum(1 for _ in queue.root.iterdir()),
        }
    return counts, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    counts, figures = run(options.clients, options.seconds)
    print(f"{options.clients} clients for {options.seconds:g} s")
    print(f"right {counts.right}, busy {counts.busy}, wrong {len(counts.wrong)} {counts.wrong[:3]}")
    print(f"{counts.right / options.seconds:.1f} pictures a second")
    if counts.waits:
        print(f"waiting: median {statistics.median(counts.waits):.1f} s, longest {max(counts.waits):.1f} s")
    print(f"memory {figures['memory before'] / 1e6:.0f} MB before, {figures['memory after'] / 1e6:.0f} MB after")
    print(f"then in the queue: {figures['queue']}, folders left: {figures['folders left']}")
    if counts.wrong or figures["queue"] or figures["folders left"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
