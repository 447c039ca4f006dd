"""Whether a photo in a place has 16 bits a channel, told by a few of its bytes."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from seesr.apps.cluster.places import Place
from seesr.errors import SeesrError
from seesr.photos.decode import holds_sixteen_bits, tells_sixteen_bits

_READERS = 16
_PIECE = 16 << 10


class Remote:
    """A file of a place as `seesr.photos.exif.Data`: only what is asked for is read, in pieces that are kept."""

    def __init__(self, place: Place, key: str, size: int) -> None:
        self._place, self._key, self._size = place, key, size
        self._pieces: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, step = part.indices(self._size)
        if step != 1:
            raise ValueError("only whole stretches are read")
        first, last = start // _PIECE, max(start, end - 1) // _PIECE
        content = b"".join(map(self._piece, range(first, last + 1)))
        return content[start - first * _PIECE : max(start, end) - first * _PIECE]

    def _piece(self, number: int) -> bytes:
        if number not in self._pieces:
            start = number * _PIECE
            self._pieces[number] = self._place.read(self._key, start, min(self._size, start + _PIECE))
        return self._pieces[number]


def tells_sixteen(place: Place, keys: Iterable[str]) -> bool:
    """Whether one of these files seems to have more than 8 bits a channel; those that cannot be read have not."""
    with ThreadPoolExecutor(1 if place.local else _READERS) as pool:
        return any(list(pool.map(lambda key: _tells(place, key), keys)))


def _tells(place: Place, key: str) -> bool:
    if place.local:
        return holds_sixteen_bits(place.local / key)
    try:
        size = place.size(key)
        return bool(size) and tells_sixteen_bits(Remote(place, key, size or 0), PurePosixPath(key).suffix)
    except (SeesrError, ValueError):
        return False
