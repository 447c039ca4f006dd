"""What the pictures of a restoration take of memory, and whether this machine has it; found out before any work.

What the networks work on at a time is bounded by the size of their tiles (`seesr.restoration.needs`). Pictures grow
with the photo, and a system that runs out of memory kills the program without a word.
"""

from pathlib import Path

from seesr.errors import SeesrError

_PIXEL = 4  # bytes of a pixel in Pillow, RGB and RGBA alike
_PIXEL_16 = 6  # with 16 bits a channel
_TENSOR = 12  # three channels of float32
_READ = 4 * _PIXEL  # as read, upright, in sRGB, with its transparency
_FINISHED = 3 * _PIXEL  # restored, finished, being written
_FINISHED_16 = 3 * _PIXEL_16 + 2 * 4 + 4  # the same, one channel being resized, packed for the file
_SHEET = 3 * _PIXEL  # of the result's pixels: both halves, and the photo resized
_ENCODER = {".webp": 8, ".avif": 24}  # bytes a pixel beside the picture; the others write as they go
_CGROUP = Path("/sys/fs/cgroup")


def picture_bytes(
    photo: tuple[int, int],
    result: tuple[int, int],
    worked: tuple[int, int],
    diffuse: bool,
    bits: int = 8,
    compare: bool = False,
    suffix: str = "",
) -> int:
    """Bytes that the pictures of one restoration take at most at one time, from the photo to the written file.

    Args:
        photo, result: width and height of what comes in and goes out.
        worked: size at which it is worked at (`seesr.restoration.sizes.working_size`), of a very narrow photo much
            more than the result's.
        diffuse: whether the diffusion part runs; then the enlarged and the restored picture are held together.
        bits: of a channel of the result. compare: a side-by-side is made too. suffix: of the file that is written.
    """
    read, made, held = (width * height for width, height in (photo, result, worked))
    pixel = _PIXEL_16 if bits == 16 else _PIXEL
    given = max(read, held // 16)  # what the enlarger is given: the photo, or one too small made larger first
    enlarging = (_PIXEL + _TENSOR) * given + pixel * held
    resizing = _PIXEL * read + pixel * ((2 if diffuse else 1) * held + made)
    finishing = (_FINISHED_16 if bits == 16 else _FINISHED) + _ENCODER.get(suffix.lower(), 0) + compare * _SHEET
    return max(enlarging, resizing, _PIXEL * read + finishing * made)


def check_photo_fits(path: Path, size: tuple[int, int]) -> None:
    """Whether a photo of `size` (width, height) can be unpacked.

    Raises:
        SeesrError: it takes more memory than is free.
    """
    needed, free = size[0] * size[1] * _READ, free_memory()
    if needed > free:
        raise SeesrError(
            f"{path}: unpacking {size[0]} x {size[1]} pixels needs {_gib(needed)} of memory, and {_gib(free)} are "
            "free; make the photo smaller first"
        )


def check_result_fits(
    path: Path,
    size: tuple[int, int],
    compare: bool = False,
    bits: int = 8,
    worked: tuple[int, int] = (0, 0),
    photo: tuple[int, int] = (0, 0),
    diffuse: bool = False,
    working: int = 0,
) -> None:
    """Whether a result of `size`, of `bits` a channel, with a side-by-side if `compare`, can be made and written.

    Args:
        worked, photo, diffuse: as for `picture_bytes`.
        working: bytes that the networks need beside the pictures (`seesr.restoration.needs.Needs.working`).

    Raises:
        SeesrError: it takes more memory than is free.
    """
    pictures, free = picture_bytes(photo, size, worked, diffuse, bits, compare, path.suffix), free_memory()
    if pictures + working <= free:
        return
    what, remedy = f"a result of {size[0]} x {size[1]} pixels", "choose a smaller `scale` or `longest`"
    if worked[0] * worked[1] > 2 * size[0] * size[1]:
        what, remedy = f"{what}, worked at {worked[0]} x {worked[1]},", "choose a smaller `process_size`"
    needed = f"{_gib(pictures)} of memory for the pictures alone"
    if pictures <= free:
        needed = f"{_gib(pictures + working)} of memory"
        remedy = f"`memory` with less than that makes smaller tiles, or {remedy}"
    raise SeesrError(f"{path}: {what} needs {needed}, and {_gib(free)} are free; {remedy}")


def free_memory() -> int:
    """Bytes that can be had without swapping, by the system and by the limit of a container."""
    import psutil

    free: int = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()))
    except OSError:
        pass  # no container with a limit of its own
    return free


def _gib(size: int) -> str:
    return f"{max(0, size) / 2**30:.1f} GiB"
