"""What a user wants of a photo's metadata besides keeping them: the tags seen written down, or some left out.

The simple form, on XMP and EXIF alone; a fuller writer of metadata takes the place of these two functions.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

from PIL import ExifTags, Image

from seesr.photos.photo import Photo

_X, _RDF, _DC = "adobe:ns:meta/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://purl.org/dc/elements/1.1/"
_GPS = re.compile(
    rb"""\s(?:exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode))=(?:"[^"]*"|'[^']*')"""
    rb"""|<((?:exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)"""
    rb"""|Iptc4xmpExt:Location(?:Shown|Created)))\b.*?</\1>""",
    re.DOTALL,
)


def write_tags(photo: Photo, tags: Sequence[str]) -> Photo:
    """The photo with `tags` among its keywords (XMP `dc:subject`), after those it has.

    Raises:
        ValueError: its XMP cannot be read.
    """
    if not tags:
        return photo
    for prefix, space in (("x", _X), ("rdf", _RDF), ("dc", _DC)):
        ET.register_namespace(prefix, space)
    try:
        packet = ET.fromstring(photo.xmp.strip(b"\0 \r\n")) if photo.xmp else ET.Element(f"{{{_X}}}xmpmeta")
    except ET.ParseError as error:
        raise ValueError("its XMP metadata are damaged, so no keywords could be added") from error
    rdf = packet if packet.tag == f"{{{_RDF}}}RDF" else packet.find(f"{{{_RDF}}}RDF")
    rdf = ET.SubElement(packet, f"{{{_RDF}}}RDF") if rdf is None else rdf
    bag = rdf.find(f".//{{{_DC}}}subject/{{{_RDF}}}Bag")
    if bag is None:
        about = ET.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
        bag = ET.SubElement(ET.SubElement(about, f"{{{_DC}}}subject"), f"{{{_RDF}}}Bag")
    there = {item.text for item in bag}
    for tag in tags:
        if tag not in there:
            ET.SubElement(bag, f"{{{_RDF}}}li").text = tag
    body = ET.tostring(packet, encoding="utf-8")
    return replace(photo, xmp=b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>' + body + b'<?xpacket end="w"?>')


def strip(photo: Photo, what: str) -> Photo:
    """The photo without metadata ("all"; its colour profile stays), or without the place it was taken ("location")."""
    if what == "all":
        return replace(photo, exif=None, xmp=None, dpi=None)
    exif, xmp = photo.exif, photo.xmp
    if exif:
        tags = Image.Exif()
        tags.load(exif)
        if ExifTags.IFD.GPSInfo in tags:
            tags.get_ifd(ExifTags.IFD.GPSInfo).clear()
            del tags[ExifTags.IFD.GPSInfo]
            exif = tags.tobytes()
    return replace(photo, exif=exif, xmp=_GPS.sub(b"", xmp) if xmp else None)
