"""The HTTP API: photos in, pictures out, at once or as jobs that can be watched and cancelled."""

import dataclasses
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from seesr.apps.web.errors import ApiError
from seesr.apps.web.job_queue import Queue
from seesr.apps.web.jobs import ENDED, BusyError, Snapshot, WebJob
from seesr.apps.web.settings import describe, read_wish
from seesr.apps.web.uploads import BODIES, Format, Upload, read_upload
from seesr.apps.web.work import FORMATS, Restoration, Wish, about, encoded, preview
from seesr.errors import SeesrError


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
    """What DAPE sees in a photo: `name`, `probability` and `map` of each tag.

    `map` tells where: rows of cells that cover the whole photo, 1 where most of the evidence lies, 0 where none does.
    """

    tags: list[dict[str, Any]]


def make_routes(queue: Queue, restoration: Restoration) -> APIRouter:
    """The routes under `/v1`."""
    routes = APIRouter(prefix="/v1", tags=["restore"])

    async def submit(request: Request, look: bool = False) -> tuple[WebJob, Upload]:
        _allowed(lambda: queue.check_room(_visitor(request)))
        upload = await read_upload(request, queue.limits.upload_bytes)
        work = restoration.look() if look else restoration.restore(_wish(restoration, upload.settings))
        job = await run_in_threadpool(
            _allowed, lambda: queue.submit(_visitor(request), upload.name, upload.content, work)
        )
        return job, upload

    async def finished(request: Request, job: WebJob) -> Snapshot:
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

    @routes.post("/restore", response_class=Response, openapi_extra=BODIES)
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

    @routes.post("/tags", openapi_extra=BODIES)
    async def tags(request: Request) -> Tags:
        """The tags that DAPE sees in a photo, with probabilities and where each is seen."""
        job, _ = await submit(request, look=True)
        await finished(request, job)
        found = about(job)
        queue.remove(job)
        return Tags(tags=found["tags"])

    @routes.post("/jobs", status_code=202, openapi_extra=BODIES)
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


def _status(queue: Queue, job: WebJob) -> JobStatus:
    found = queue.snapshot(job)
    values = {name: getattr(found, name) for name in JobStatus.model_fields if hasattr(found, name)}
    return JobStatus(**values, result=about(job) if found.state == "done" else None)


def _find(queue: Queue, number: str) -> WebJob:
    job = queue.get(number)
    if job is None:
        raise ApiError(404, "no_job", "there is no such job, or it has expired")
    return job


def _done(queue: Queue, number: str) -> WebJob:
    job = _find(queue, number)
    if job.state != "done":
        raise ApiError(409, "not_done", "the picture is not restored yet")
    return job


def _encoded(job: WebJob, suffix: str, quality: int) -> Any:
    try:
        return encoded(job, suffix, quality)
    except SeesrError as error:
        raise ApiError(422, "wrong_format", str(error).replace(str(job.folder), "")) from None


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _disposition(name: str, suffix: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{_stem(name)}-restored.{suffix}', safe='')}"}
