"""Bad files, full disks and wrong targets: one line that says what to do, and nothing half-written."""

import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from photo_files import again, chunk, noise, smooth
from PIL import ExifTags, Image

from seesr.errors import SeesrError
from seesr.photos import limits as photo_memory
from seesr.photos.files import WRITABLE, check_writable, output_name, write_photo
from seesr.photos.limits import check_result_fits
from seesr.photos.photo import finish_photo, read_photo


def test_wrong_extensions_are_read_by_content(tmp_path: Path) -> None:
    source = smooth()
    source.save(tmp_path / "in.jpg", quality=95)
    (tmp_path / "in.jpg").rename(tmp_path / "in.png")
    result = again(tmp_path / "in.png", tmp_path / "out.png")
    assert result.format == "PNG"
    assert read_photo(tmp_path / "in.png").notes == ("a JPEG file, whatever its name says",)
    assert np.abs(np.asarray(result, int) - np.asarray(source, int)).mean() < 2


def test_bad_files_get_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("This is not a picture.\n")
    (tmp_path / "fake.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    palette = struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 20))
    without = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", palette) + data + chunk(b"IEND", b"")
    (tmp_path / "palette.png").write_bytes(without)
    for name, words in {
        "pipe.png": "a device or a pipe",
        "palette.png": "no palette",
        "absent.png": "no such file",
        "empty.png": "is empty",
        "text.png": "not a picture, damaged",
        "script.png": "a PostScript document, which is not read",
        "fake.heic": "pip install pillow-heif|damaged",
        "folder.png": "is a folder",
    }.items():
        with pytest.raises(SeesrError, match=words) as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_every_cut_of_every_format_is_an_error_or_a_picture(tmp_path: Path) -> None:
    """Cut short at 40 places and with bytes turned over: never anything but SeesrError."""
    rng = np.random.default_rng(0)
    source = Image.fromarray(noise(3)).resize((40, 30))
    for suffix in sorted(WRITABLE - {".jfif", ".jpe", ".jpeg", ".tiff"} | {".gif", ".bmp", ".ppm"}):
        whole = tmp_path / f"whole{suffix}"
        write_photo(source, whole) if suffix == ".jxl" else source.save(whole)
        data, bad, refused = whole.read_bytes(), tmp_path / f"bad{suffix}", 0
        for cut in np.linspace(1, len(data) * 0.9, 40).astype(int):
            bad.write_bytes(data[:cut])
            refused += refusal(bad) is not None
        assert refused == 40, suffix
        for _ in range(40):
            spoiled = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                spoiled[place] ^= int(rng.integers(1, 256))
            bad.write_bytes(spoiled)
            assert "\n" not in (refusal(bad) or "")


def refusal(path: Path) -> str | None:
    try:
        read_photo(path)
        return None
    except SeesrError as error:
        return str(error)


def test_pixel_limit_and_its_override(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (60, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    for bound in (2999, 1000):  # just beyond, and where Pillow itself refuses
        with pytest.raises(SeesrError, match="`max_pixels`"):
            read_photo(tmp_path / "a.png", max_pixels=bound)
    assert read_photo(tmp_path / "a.png", max_pixels=3000).rgb.size == (60, 50)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(SeesrError, match="`max_pixels`"):
        read_photo(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert not recwarn.list


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for suffix in sorted(WRITABLE):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"the old one")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        try:
            with pytest.raises(SeesrError, match="cannot be written"):
                write_photo(noise, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == len(WRITABLE)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without names are Linux's")
def test_a_killed_process_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"the old one")
    program = (
        "import os, signal; from pathlib import Path; from seesr.system.atomic import write_whole\n"
        "def save(file): file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_whole(Path({str(tmp_path / 'a.png')!r}), save)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"the old one")]


def test_files_get_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    name = "a" * 251 + ".png"  # as long as names may be
    write_photo(Image.new("RGB", (4, 4)), tmp_path / "deep" / "er" / name)
    assert (tmp_path / "deep" / "er" / name).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_unwritable_targets_are_known_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    check_writable(tmp_path / "new" / "a.png", (200_000, 10))
    for name, size, words in (
        ("a.xyz", None, r"cannot write \.xyz"),
        ("a", None, "without suffix"),
        ("a.webp", (20_000, 10), "16383"),
        ("a.jpg", (10, 70_000), "65500"),
        ("file/a.png", None, "not a folder"),
        ("folder.png", None, "is a folder"),
        ("n" * 300 + ".png", None, "too long"),
    ):
        with pytest.raises(SeesrError, match=words):
            check_writable(tmp_path / name, size)


def test_output_names() -> None:
    assert output_name(Path("in/a.b.JPG")) == "a.b.JPG"
    assert output_name(Path("in/a.gif"), "_x4") == "a_x4.png"
    assert output_name(Path("a.heic"), ext="webp") == "a.webp"
    assert output_name(Path("a.png"), ext=".jpg") == "a.jpg"
    for options in ({"ext": "docx"}, {"suffix": "/../b"}, {"suffix": "\0"}):
        with pytest.raises(SeesrError, match=f"`{next(iter(options))}`"):
            output_name(Path("a.png"), **options)


def test_pictures_too_large_for_memory_are_known_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (400, 300)).save(tmp_path / "a.png")
    photo_size = 400 * 300
    monkeypatch.setattr(photo_memory, "free_memory", lambda: 16 * photo_size)
    read_photo(tmp_path / "a.png")
    monkeypatch.setattr(photo_memory, "free_memory", lambda: 16 * photo_size - 1)
    with pytest.raises(SeesrError, match=r"unpacking 400 x 300 pixels needs 0.0 GiB"):
        read_photo(tmp_path / "a.png")
    for suffix, compare, each in ((".png", False, 12), (".webp", False, 20), (".png", True, 24)):
        monkeypatch.setattr(photo_memory, "free_memory", lambda each=each: each * 2**30)
        check_result_fits(tmp_path / f"a{suffix}", (2**15, 2**15), compare)
        with pytest.raises(SeesrError, match=r"32769 x 32768 pixels .* smaller `scale`"):
            check_result_fits(tmp_path / f"a{suffix}", (2**15 + 1, 2**15), compare)


def test_free_memory_is_that_of_this_machine() -> None:
    assert 2**20 < photo_memory.free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_heic_is_read_where_its_library_is_there(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    source, exif = smooth(), Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    exif[ExifTags.Base.Orientation] = 6
    heif.from_pillow(source).save(tmp_path / "in.heic", quality=95, exif=exif.tobytes())
    photo = read_photo(tmp_path / "in.heic")
    upright = source.transpose(Image.Transpose.ROTATE_270) if photo.rgb.width == 48 else source
    assert np.abs(np.asarray(photo.rgb, int) - np.asarray(upright, int)).mean() < 3
    assert finish_photo(photo.rgb, photo).getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert output_name(tmp_path / "in.heic") == "in.png"
