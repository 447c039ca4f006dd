"""Kinds of picture files: by suffix, by content, and what to say of those that are not read."""

from importlib.util import find_spec
from pathlib import Path

from PIL import Image

Image.init()

_FORMATS = {
    ".avif": "AVIF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".jxl": "JXL",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_READ_ONLY = {
    ".apng": "PNG",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".gif": "GIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".j2k": "JPEG2000",
    ".jp2": "JPEG2000",
    ".jpx": "JPEG2000",
    ".mpo": "JPEG",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tga": "TGA",
}
_RAW = "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
_UNREAD = (  # pictures all the same
    "ai avifs bpg cdr dcm dds djvu dpx emf eps exr fits flif hdr heics icns ico j2c jng jp3 jpc jxr kra ora pam pcx "
    "pfm pic psb psd qoi sgi svg svgz tpic wbmp wdp wmf xbm xcf xpm"
)
RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW.split())
"""Suffixes of camera RAW files, which need the extra `raw`."""

FORMAT_OF = {**_FORMATS, **_READ_ONLY, **dict.fromkeys(RAW_SUFFIXES, "RAW")}
"""Format, in Pillow's words where it has one, by suffix."""

READABLE = frozenset(FORMAT_OF)
"""Suffixes of files that are read; some need an extra (HEIC, RAW, JPEG XL)."""

WRITABLE = frozenset(
    suffix
    for suffix, name in _FORMATS.items()
    if name in Image.SAVE or (name == "JXL" and find_spec("imagecodecs") is not None)
)
"""Suffixes of files that can be written; .avif only where Pillow was built with it, .jxl only with the extra `jxl`."""

PICTURE_SUFFIXES = READABLE | _FORMATS.keys() | {f".{name}" for name in _UNREAD.split()}
"""All suffixes that mean a picture, whether it can be read or not."""


def is_picture_name(path: Path) -> bool:
    """Whether a path has a picture's suffix: then it names a file and never a folder, be it one that is read or not."""
    return path.suffix.lower() in PICTURE_SUFFIXES


_BRANDS = {
    "HEIC photo": (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"),
    "AVIF picture": (b"avif", b"avis"),
    "Canon RAW (CR3)": (b"crx ",),
    "video": (
        b"isom",
        b"mp41",
        b"mp42",
        b"M4V ",
        b"qt  ",
        b"3gp4",
        b"3gp5",
        b"iso2",
        b"avc1",
        b"dash",
        b"iso5",
        b"iso6",
    ),
}
_STARTS = (
    (b"8BPS", "Photoshop document"),
    (b"v/1\x01", "OpenEXR picture"),
    (b"#?RADIANCE", "Radiance HDR picture"),
    (b"#?RGBE", "Radiance HDR picture"),
    (b"DDS ", "DirectDraw texture"),
    (b"gimp xcf", "GIMP document"),
    (b"%PDF", "PDF document"),
    (b"%!PS", "PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "PostScript document"),
    (b"\0\0\1\0", "Windows icon"),
    (b"icns", "macOS icon"),
    (b"SDPX", "DPX picture"),
    (b"XPDS", "DPX picture"),
    (b"SIMPLE  =", "FITS picture"),
    (b"qoif", "QOI picture"),
    (b"BPG\xfb", "BPG picture"),
    (b"FLIF", "FLIF picture"),
    (b"AT&TFORM", "DjVu document"),
    (b"II\xbc", "JPEG XR picture"),
    (b"\x01\xda", "SGI picture"),
    (b"\x8aMNG", "MNG animation"),
    (b"\x8bJNG", "JNG picture"),
    (b"\x0a\x05\x01", "PCX picture"),
    (b"Pf\n", "portable float map"),
    (b"PF\n", "portable float map"),
    (b"P7\n", "portable arbitrary map"),
    (b"/* XPM */", "XPM picture"),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile"),
    (b"PK\3\4", "ZIP archive"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"RIFF", "RIFF file that is no WebP picture"),
    (b"FUJIFILMCCD-RAW", "Fujifilm RAW"),
    (b"FOVb", "Sigma RAW"),
    (b"\0MRM", "Minolta RAW"),
    (b"IIRO", "Olympus RAW"),
    (b"IIRS", "Olympus RAW"),
    (b"IIU\0", "Panasonic RAW"),
)
_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def is_jxl(head: bytes) -> bool:
    """Whether a file that begins so is a JPEG XL picture."""
    return head.startswith(_JXL_STARTS)


def kind_of(head: bytes) -> str | None:
    """What a file is that begins with `head`, if it is something known: "HEIC photo", "PDF document"."""
    if is_jxl(head):
        return "JPEG XL picture"
    if head[4:8] == b"ftyp":
        return next((name for name, brands in _BRANDS.items() if head[8:12] in brands), None)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return None
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if b"<svg" in head[:1024]:
        return "SVG drawing"
    return None


_FRAMES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical"),
    0xC9: "arithmetically coded",
    0xCA: "arithmetically coded",
    0xCB: "lossless, arithmetically coded",
    **dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical, arithmetically coded"),
    0xF7: "JPEG-LS",
}


def odd_jpeg(data: bytes) -> str | None:
    """What makes a JPEG one that common decoders do not read ("12-bit", "lossless"), by its frame header."""
    place = 2
    while place + 5 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            return _FRAMES[marker]
        if 0xC0 <= marker <= 0xC2:
            return f"{data[place + 4]}-bit" if data[place + 4] not in (0, 8) else None
        if marker == 0xDA:
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
