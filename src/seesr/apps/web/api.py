"""The HTTP API: photos in, pictures out, at once or as jobs that can be watched and cancelled."""

import base64
import binascii
import dataclasses
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile

from seesr.apps.web.errors import ApiError
from seesr.apps.web.jobs import ENDED, BusyError, Job, Queue, Snapshot
from seesr.apps.web.settings import describe, read_wish, schema
from seesr.apps.web.work import FORMATS, Restoration, Wish, about, encoded, preview
from seesr.errors import SeesrError

Format = Literal["png", "jpg", "webp", "avif", "tiff"]

_BESIDE_PHOTO = 100_000  # bytes of a request that are not the photo


class JsonPhoto(BaseModel):
    """A photo in JSON."""

    image: str = Field(description="The photo's file in base64, with or without a data: prefix.")
    name: str = Field(default="photo", max_length=255)
    settings: dict[str, Any] = Field(default_factory=dict, json_schema_extra=schema())
    format: Format = "png"
    quality: int = Field(default=95, ge=1, le=100)


class JobStatus(BaseModel):
    """A job as it stands. position: jobs before it, 0 when it runs. left: seconds, as far as can be told."""

    id: str
    name: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    position: int
    stage: str
    done: int
    total: int
    left: float | None
    seconds: float
    error: str
    result: dict[str, Any] | None = None


class Tags(BaseModel):
    """What DAPE sees in a photo."""

    tags: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Upload:
    """A photo as it came, and what is wanted of it."""

    name: str
    content: bytes
    settings: dict[str, Any]
    format: Format = "png"
    quality: int = 95


def make_routes(queue: Queue, restoration: Restoration) -> APIRouter:
    """The routes under `/v1`."""
    routes = APIRouter(prefix="/v1", tags=["restore"])
    bodies: dict[str, Any] = {
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
                "application/json": {
                    "schema": JsonPhoto.model_json_schema(ref_template="#/components/schemas/{model}")
                },
            },
        }
    }

    async def submit(request: Request, look: bool = False) -> tuple[Job, Upload]:
        _allowed(lambda: queue.check_room(_visitor(request)))
        upload = await _read_upload(request, queue.limits.upload_bytes)
        work = restoration.look() if look else restoration.restore(_wish(restoration, upload.settings))
        job = await run_in_threadpool(
            _allowed, lambda: queue.submit(_visitor(request), upload.name, upload.content, work)
        )
        return job, upload

    async def finished(request: Request, job: Job) -> Snapshot:
        """The job once it has ended well; it is cancelled where its visitor goes away."""
        while True:
            found = await run_in_threadpool(queue.wait, job, 1.0)
            if found.state in ENDED:
                break
            if await request.is_disconnected():
                queue.remove(job)
                raise ApiError(499, "gone", "the client closed the connection")
        if found.state != "done":
            queue.remove(job)
            raise ApiError(422, "not_restored", found.error or "cancelled")
        return found

    @routes.post("/restore", response_class=Response, openapi_extra=bodies)
    async def restore(request: Request) -> Response:
        """Restore a photo and return the picture."""
        job, upload = await submit(request)
        await finished(request, job)
        try:
            file = await run_in_threadpool(_encoded, job, upload.format, upload.quality)
            content = await run_in_threadpool(file.read_bytes)
        finally:
            queue.remove(job)
        return Response(content, media_type=FORMATS[upload.format], headers=_disposition(job.name, upload.format))

    @routes.post("/tags", openapi_extra=bodies)
    async def tags(request: Request) -> Tags:
        """The tags that DAPE sees in a photo, with probabilities."""
        job, _ = await submit(request, look=True)
        await finished(request, job)
        found = about(job)
        queue.remove(job)
        return Tags(tags=found["tags"])

    @routes.post("/jobs", status_code=202, openapi_extra=bodies)
    async def start(request: Request, response: Response) -> JobStatus:
        """Put a photo into the queue."""
        job, _ = await submit(request)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return _status(queue, job)

    @routes.get("/jobs/{number}")
    def status(number: str) -> JobStatus:
        """A job as it stands; `result` once it is done."""
        return _status(queue, _find(queue, number))

    @routes.delete("/jobs/{number}", status_code=204)
    def remove(number: str) -> None:
        """Cancel a job, or remove a finished one with its files."""
        queue.remove(_find(queue, number))

    @routes.post("/jobs/{number}/cancel")
    def cancel(number: str) -> JobStatus:
        """Cancel a job; a running restoration stops at its next tile or step."""
        job = _find(queue, number)
        queue.cancel(job)
        return _status(queue, job)

    @routes.get("/jobs/{number}/events", response_class=StreamingResponse)
    async def events(request: Request, number: str) -> StreamingResponse:
        """The job's changes as server-sent events, one `JobStatus` each, until it has ended."""
        job = _find(queue, number)

        async def stream() -> AsyncIterator[str]:
            changes = queue.changes(job)
            while not await request.is_disconnected():
                found = await run_in_threadpool(next, changes, "end")
                if found == "end":
                    return
                yield ": still here\n\n" if found is None else f"data: {_status(queue, job).model_dump_json()}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @routes.get("/jobs/{number}/result", response_class=FileResponse)
    def result(
        number: str,
        format: Format = "png",
        quality: Annotated[int, Field(ge=1, le=100)] = 95,
    ) -> FileResponse:
        """The restored picture with the photo's metadata."""
        job = _done(queue, number)
        file = _encoded(job, format, quality)
        return FileResponse(file, media_type=FORMATS[format], headers=_disposition(job.name, format))

    @routes.get("/jobs/{number}/{which}.webp", response_class=FileResponse)
    def shown(number: str, which: Literal["before", "after"]) -> FileResponse:
        """A picture for the page: the photo enlarged, or the result; at most 4096 pixels a side."""
        return FileResponse(preview(_done(queue, number), which), media_type="image/webp")

    @routes.get("/zip", response_class=Response)
    def several(jobs: str, format: Format = "png", quality: Annotated[int, Field(ge=1, le=100)] = 95) -> Response:
        """Several results in one ZIP; `jobs`: their ids, separated by commas."""
        content, names = io.BytesIO(), set[str]()
        with zipfile.ZipFile(content, "w") as archive:  # pictures are compressed already
            for number in jobs.split(",")[:1000]:
                job = _done(queue, number)
                name = stem = _stem(job.name)
                count = 1
                while name in names:
                    count += 1
                    name = f"{stem}-{count}"
                names.add(name)
                archive.write(_encoded(job, format, quality), f"{name}.{format}")
        headers = {"Content-Disposition": 'attachment; filename="restored.zip"'}
        return Response(content.getvalue(), media_type="application/zip", headers=headers)

    @routes.get("/settings")
    def settings() -> dict[str, Any]:
        """Profiles with their values, settings with their kinds and ranges, and this server's limits."""
        return describe(restoration.restorer) | {"limits": dataclasses.asdict(queue.limits), "formats": list(FORMATS)}

    return routes


# ------------------------------------------------------------------------------------------------------- requests


async def _read_upload(request: Request, limit: int) -> Upload:
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


def _wish(restoration: Restoration, settings: dict[str, Any]) -> Wish:
    try:
        return read_wish(settings, restoration.restorer)
    except SeesrError as error:
        raise ApiError(422, "wrong_settings", str(error)) from None


def _visitor(request: Request) -> str:
    return request.client.host if request.client else ""


def _allowed(act: Any) -> Any:
    try:
        return act()
    except BusyError as error:
        raise ApiError(503, "busy", str(error), error.retry_after) from None
    except SeesrError as error:
        raise ApiError(503, "unavailable", str(error), 60) from None


# ------------------------------------------------------------------------------------------------------ responses


def _status(queue: Queue, job: Job) -> JobStatus:
    found = queue.snapshot(job)
    values = {name: getattr(found, name) for name in JobStatus.model_fields if hasattr(found, name)}
    return JobStatus(**values, result=about(job) if found.state == "done" else None)


def _find(queue: Queue, number: str) -> Job:
    job = queue.get(number)
    if job is None:
        raise ApiError(404, "no_job", "there is no such job, or it has expired")
    return job


def _done(queue: Queue, number: str) -> Job:
    job = _find(queue, number)
    if job.state != "done":
        raise ApiError(409, "not_done", "the picture is not restored yet")
    return job


def _encoded(job: Job, suffix: str, quality: int) -> Any:
    try:
        return encoded(job, suffix, quality)
    except SeesrError as error:
        raise ApiError(422, "wrong_format", str(error).replace(str(job.folder), "")) from None


def _safe(name: str) -> str:
    """The last part of a file's name, without control characters; the photo is not kept under it."""
    name = PurePosixPath(name.replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:200] or "photo"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _disposition(name: str, suffix: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{_stem(name)}-restored.{suffix}', safe='')}"}
