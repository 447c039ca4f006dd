"""What size a photo of width x height is worked at and comes out at."""

from seesr.errors import SeesrError

DEFAULT_SCALE = 4.0
MAX_SCALE = 16.0

PURPOSES = {
    "hd": (1920, 1080),
    "4k": (3840, 2160),
    "8k": (7680, 4320),
    "print-10x15": (1772, 1181),  # prints at 300 dots an inch; centimetres
    "print-a5": (2480, 1748),
    "print-a4": (3508, 2480),
    "print-a3": (4961, 3508),
}
"""Sizes by name: (longer, shorter) side in pixels into which the whole result just fits, lying or upright."""


def target_scale(
    width: int,
    height: int,
    scale: float | None = None,
    longest: int | None = None,
    fit: tuple[int, int] | None = None,
    purpose: str | None = None,
) -> float:
    """Scale for a photo of `width` x `height`: 4 unless one of the others is given; 1 or less makes no larger picture.

    Args:
        scale: of width and height.
        longest: pixels of the result's longer side.
        fit: (width, height) into which the whole result shall just go.
        purpose: a name in `PURPOSES`.

    Raises:
        SeesrError: two of them, an unknown purpose, or a scale that is not more than 0 and at most 16.
    """
    wishes = {"`scale`": scale, "`longest`": longest, "`fit`": fit, "`purpose`": purpose}
    given = [name for name, value in wishes.items() if value is not None]
    if len(given) > 1:
        raise SeesrError(f"{' and '.join(given)} exclude each other; give one of them")
    bounds = f"must be more than 0 and at most {MAX_SCALE:g}"
    if purpose is not None:
        if purpose not in PURPOSES:
            raise SeesrError(f"`purpose` cannot be {purpose!r}; there are {', '.join(PURPOSES)}")
        longer, shorter = PURPOSES[purpose]
        fit = (longer, shorter) if width >= height else (shorter, longer)
    if longest is None and fit is None:
        wanted = DEFAULT_SCALE if scale is None else scale
        if not 0 < wanted <= MAX_SCALE:
            raise SeesrError(f"`scale` cannot be {wanted:g}; it {bounds}")
        return wanted
    if fit is None:
        assert longest is not None
        option, wanted = f"`longest` {longest}", longest / max(width, height)
    else:
        option, wanted = f"`fit` {fit[0]}x{fit[1]}", min(fit[0] / width, fit[1] / height)
        option = option if purpose is None else f"`purpose` {purpose}"
    if not 0 < wanted <= MAX_SCALE:
        raise SeesrError(f"{option} would make {width} x {height} pixels {wanted:.4g} times as large; that {bounds}")
    return wanted


def work_scale(scale: float) -> float:
    """The scale at which a photo is restored for a result of `scale`.

    A result smaller than the photo is restored at the photo's own size, with all its detail, and then reduced.
    """
    return max(1.0, scale)


def output_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Size of the result for a photo of `width` x `height`: exactly `scale` times, rounded, at least one pixel."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def working_size(photo: tuple[int, int], scale: float, process_size: int) -> tuple[int, int]:
    """Width and height at which a photo is worked at, before the cut to multiples of 8."""
    scale = work_scale(scale)
    least, (width, height) = int(process_size // scale), photo
    s = max(1.0, least / min(width, height))
    return int(int(s * width) * scale), int(int(s * height) * scale)
