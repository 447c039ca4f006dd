"""What restoring one photo would take, by a dry run of the networks and a probe of this machine."""

import math
from pathlib import Path

from seesr.apps.doctor.report import OK, PROBLEM, Report, counted, time_span
from seesr.errors import SeesrError


def examine_photo(report: Report, path: Path, model: str, folder: Path | None, scale: float) -> None:
    """What restoring the photo takes: read it, run the networks dry, and time a convolution.

    Args:
        folder: of the model; None if it cannot be used. Of those built by name it can be told even so.
    """
    import torch

    from seesr.apps.estimates import estimate, estimate_published, seconds_span
    from seesr.checkpoints.download import gigabytes
    from seesr.checkpoints.sources import PUBLISHED_MODELS
    from seesr.devices import choose_device, choose_dtype
    from seesr.photos.limits import free_memory
    from seesr.photos.photo import read_photo
    from seesr.restoration.memory import loaded_bytes
    from seesr.restoration.sizes import target_scale

    try:
        photo = read_photo(path)
    except SeesrError as error:
        report.add("Photo", path.name, PROBLEM, str(error))
        return
    try:
        scale = target_scale(*photo.rgb.size, scale)
    except SeesrError as error:
        report.add("Photo", "scale", PROBLEM, str(error))
        return
    if folder is None and model not in PUBLISHED_MODELS:
        return
    device = choose_device()
    dtype, on_gpu = choose_dtype("auto", device), device.type == "cuda"
    if folder is None:
        needs = estimate_published(PUBLISHED_MODELS[model].turbo, photo.rgb.size, scale, dtype, on_gpu)
    else:
        needs = estimate(folder, photo.rgb.size, scale, dtype, on_gpu)
    least, most, busy = seconds_span(needs, device, dtype)
    if on_gpu:
        free, where = torch.cuda.mem_get_info(device)[0], "on the graphics card"
        memory = needs.memory
    else:
        free, where = free_memory(), "free"
        memory = needs.memory + loaded_bytes(device)  # Python and PyTorch, as they stand here
    width, height = needs.size
    report.photo = {
        "width": photo.rgb.width,
        "height": photo.rgb.height,
        "result_width": width,
        "result_height": height,
        "profile": needs.profile,
        "steps": needs.steps,
        "latent_tiles": needs.tiles,
        "enlarger_tiles": needs.enlarger_tiles,
        "operations": needs.operations,
        "estimated_seconds": round(math.sqrt(least * most), 1),
        "estimated_seconds_least": round(least, 1),
        "estimated_seconds_most": round(most, 1),
        "estimated_memory_bytes": memory,
        "free_memory_bytes": free,
    }
    report.add("Photo", path.name, OK, f"{photo.rgb.width} x {photo.rgb.height} → {width} x {height} pixels")
    parts = []
    if needs.enlarger_tiles:
        parts.append(f"{counted(needs.enlarger_tiles, 'tile')} to enlarge")
    if needs.tiles:
        parts.append(f"{counted(needs.steps, 'step')} of {counted(needs.tiles, 'tile')}")
    report.add("Photo", "work", OK, f"profile {needs.profile}: {', then '.join(parts) or 'nothing learned'}")
    source = "usual for this processor; the machine is busy" if busy else "by a probe, were the machine idle"
    report.add("Photo", "time", OK, f"about {time_span(least, most)}, {source}")
    if memory > free:
        text = f"about {gigabytes(memory)} by a dry run; {gigabytes(free)} {where}"
        report.add(
            "Photo",
            "memory",
            PROBLEM,
            text,
            f"add --memory {free / 1.1e9:.1f}GB to seesr upscale for smaller tiles, or enlarge less",
        )
    else:
        report.add("Photo", "memory", OK, f"about {gigabytes(memory)} by a dry run; {gigabytes(free)} {where}")
