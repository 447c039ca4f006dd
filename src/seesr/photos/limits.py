"""Whether the pictures themselves fit into this machine's memory, found out before any work.

What the networks need is bounded by the size of their tiles; these buffers grow with the picture, and a system that
runs out of memory kills the program without a word.
"""

from pathlib import Path

from seesr.errors import SeesrError

_PIXEL = 4  # bytes of a pixel in Pillow, RGB and RGBA alike
_PHOTO = 4 * _PIXEL  # as read, upright, in sRGB, with its transparency
_RESULT = 3 * _PIXEL  # enlarged, restored, finished
_RESULT_16 = 3 * 6 + 2 * 4 + 4  # the same in 16 bits, one channel being resized, packed for the file
_SHEET = 3 * _PIXEL  # of the result's pixels: both halves, and the photo resized
_ENCODER = {".webp": 8, ".avif": 24}  # bytes a pixel beside the picture; the others write as they go
_CGROUP = Path("/sys/fs/cgroup")


def check_photo_fits(path: Path, size: tuple[int, int]) -> None:
    """Whether a photo of `size` (width, height) can be unpacked.

    Raises:
        SeesrError: it takes more memory than is free.
    """
    _check(path, f"unpacking {size[0]} x {size[1]} pixels", size[0] * size[1] * _PHOTO, "make the photo smaller first")


def check_result_fits(
    path: Path, size: tuple[int, int], compare: bool = False, bits: int = 8, worked: tuple[int, int] = (0, 0)
) -> None:
    """Whether a result of `size`, of `bits` a channel, with a side-by-side if `compare`, can be held and written.

    Args:
        worked: size at which it is worked at, which for a very narrow photo is much more (`enlarging.working_size`).

    Raises:
        SeesrError: it takes more memory than is free.
    """
    each = (_RESULT_16 if bits == 16 else _RESULT) + _ENCODER.get(path.suffix.lower(), 0) + (_SHEET if compare else 0)
    what, remedy = f"a result of {size[0]} x {size[1]} pixels", "choose a smaller --scale or --to"
    if worked[0] * worked[1] > 2 * size[0] * size[1]:
        what, remedy = f"{what}, worked at {worked[0]} x {worked[1]},", "choose a smaller --process-size"
    _check(path, what, max(size[0] * size[1], worked[0] * worked[1]) * each, remedy)


def free_memory() -> int:
    """Bytes that can be had without swapping, by the system and by the limit of a container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()))
    except OSError:
        pass  # no container with a limit of its own
    return free


def _check(path: Path, what: str, needed: int, remedy: str) -> None:
    free = free_memory()
    if needed > free:
        raise SeesrError(
            f"{path}: {what} needs {needed / 2**30:.1f} GiB of memory for the pictures alone, "
            f"and {max(0, free) / 2**30:.1f} GiB are free; {remedy}"
        )
