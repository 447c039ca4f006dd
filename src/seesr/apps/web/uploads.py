"""Photos as they come: the body of a request, multipart or JSON, read within limits and checked."""

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile

from seesr.apps.web.errors import ApiError
from seesr.apps.web.settings import schema
from seesr.apps.web.work import FORMATS

Format = Literal["png", "jpg", "webp", "avif", "tiff"]

_BESIDE_PHOTO = 100_000  # bytes of a request that are not the photo


class JsonPhoto(BaseModel):
    """A photo in JSON."""

    image: str = Field(description="The photo's file in base64, with or without a data: prefix.")
    name: str = Field(default="photo", max_length=255)
    settings: dict[str, Any] = Field(default_factory=dict, json_schema_extra=schema())
    format: Format = "png"
    quality: int = Field(default=95, ge=1, le=100)


@dataclass(frozen=True)
class Upload:
    """A photo as it came, and what is wanted of it."""

    name: str
    content: bytes
    settings: dict[str, Any]
    format: Format = "png"
    quality: int = 95


BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {
                        "photo": {"type": "string", "format": "binary"},
                        "settings": {
                            "type": "string",
                            "description": "JSON; its fields stand in the JSON variant.",
                        },
                        "format": {"type": "string", "enum": list(FORMATS)},
                        "quality": {"type": "integer", "minimum": 1, "maximum": 100},
                    },
                }
            },
            "application/json": {"schema": JsonPhoto.model_json_schema(ref_template="#/components/schemas/{model}")},
        },
    }
}
"""What the routes that take a photo say of their body in the API's schema."""


async def read_upload(request: Request, limit: int) -> Upload:
    """The photo and the settings of a multipart or JSON request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    allowance = (limit * 4 // 3 if kind == "application/json" else limit) + _BESIDE_PHOTO
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > allowance:
        raise _too_large(limit)
    try:
        if kind == "application/json":
            upload = _from_json(await _body(request, allowance))
        elif kind == "multipart/form-data":
            upload = await _from_form(request)
        else:
            raise ApiError(
                415, "wrong_type", "send multipart/form-data with a field photo, or JSON with image in base64"
            )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(422, "wrong_settings", f"{place}: {first['msg']}") from None
    if not upload.content:
        raise ApiError(422, "empty", "the photo is empty")
    if len(upload.content) > limit:
        raise _too_large(limit)
    return upload


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "too_large", f"the upload is larger than the {limit / 1e6:g} MB that this server takes")


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _from_json(body: bytes) -> Upload:
    wanted = JsonPhoto.model_validate_json(body)
    text = wanted.image.partition("base64,")[2] if wanted.image.startswith("data:") else wanted.image
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ApiError(422, "wrong_image", "image is not base64") from None
    return Upload(_safe(wanted.name), content, wanted.settings, wanted.format, wanted.quality)


async def _from_form(request: Request) -> Upload:
    async with request.form(max_files=1, max_fields=8) as form:
        photo = form.get("photo")
        if not isinstance(photo, UploadFile):
            raise ApiError(422, "no_photo", "the form has no file field called photo")
        content = await photo.read()
        settings = form.get("settings") or "{}"
        extra = {"format": form.get("format") or "png", "quality": form.get("quality") or 95}
        try:
            values = json.loads(str(settings))
        except ValueError:
            raise ApiError(422, "wrong_settings", "settings is not JSON") from None
        checked = JsonPhoto.model_validate({"image": "", "settings": values, **extra})
        return Upload(_safe(photo.filename or "photo"), content, checked.settings, checked.format, checked.quality)


def _safe(name: str) -> str:
    """The last part of a file's name, without control characters; the photo is not kept under it."""
    name = PurePosixPath(name.replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:200] or "photo"
