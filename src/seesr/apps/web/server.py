"""The server put together: Gradio's API engine, our routes and page, the guard around both."""

import base64
import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it would call home

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from gradio import FileData, Server
from starlette.exceptions import HTTPException

import seesr
from seesr.apps.web.api import make_routes
from seesr.apps.web.errors import ApiError, error_response
from seesr.apps.web.guard import Guard
from seesr.apps.web.job_queue import Queue
from seesr.apps.web.jobs import ENDED, Limits, WebJob
from seesr.apps.web.measures import CONTENT_TYPE, Measures
from seesr.apps.web.settings import read_wish
from seesr.apps.web.work import FORMATS, Restoration, about, encoded
from seesr.errors import SeesrError
from seesr.restoration.restorer import Restorer

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Access:
    """Who may come in, and from where. host, port: where the server listens; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[str, str] | None = None
    api_key: str | None = None


@contextmanager
def running(restorer: Restorer, limits: Limits, access: Access) -> Iterator[str]:
    """A server with a queue of its own, as long as the block lasts; gives its address.

    Raises:
        SeesrError: the port is taken.
    """
    with Queue(limits) as queue, serve(make_server(restorer, queue, access), queue, access) as address:
        yield address


@contextmanager
def serve(server: Server, queue: Queue, access: Access) -> Iterator[str]:
    """Have `server` listen, as long as the block lasts; gives its address.

    Raises:
        SeesrError: the port is taken.
    """
    try:
        _, address, _ = server.launch(
            server_name=access.host,
            server_port=access.port or None,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            show_error=False,
            enable_monitoring=False,
            strict_cors=True,
            ssr_mode=False,
            allowed_paths=[],
            max_file_size=queue.limits.upload_bytes,
            _frontend=False,
        )
    except OSError as error:
        raise SeesrError(f"cannot listen on {access.host}:{access.port} ({error}); choose another port") from error
    try:
        yield address
    finally:
        if server.blocks is not None:
            server.blocks.close(verbose=False)


def make_server(restorer: Restorer, queue: Queue, access: Access) -> Server:
    """All routes on one server; `running` starts it."""
    measures = Measures(lambda: queue.length, lambda: queue.kept)
    queue.on_end = lambda job: measures.jobs.labels(job.state).inc()
    restoration = Restoration(restorer, round(queue.limits.megapixels * 1e6), measures.restored)
    server = Server(
        title="seesr",
        version=seesr.__version__,
        description="Restores real photos.",
        redoc_url=None,
    )

    @server.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "page.html")

    @server.get("/page/{name}", include_in_schema=False)
    def part_of_page(name: str) -> Response:
        file = PAGE / name  # the guard lets through plain names only
        return FileResponse(file) if file.is_file() else Response(status_code=404)

    @server.get("/health")
    def health() -> dict[str, Any]:
        """Whether the server answers, and how long its queue is."""
        return {"status": "ok", "version": seesr.__version__, "queue_length": queue.length}

    @server.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(measures.text(), media_type=CONTENT_TYPE)

    server.include_router(make_routes(queue, restoration))
    _add_gradio_endpoint(server, queue, restoration)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        match error:
            case ApiError():
                found = error
            case RequestValidationError():
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"][1:])
                found = ApiError(422, "wrong_request", f"{place}: {first['msg']}")
            case HTTPException():
                found = ApiError(error.status_code, "refused", str(error.detail))
            case _:
                found = ApiError(500, "broken", f"the server broke ({type(error).__name__})")
        measures.failures.labels(found.kind).inc()
        return error_response(found, request.state.request_id)

    for kind in (ApiError, RequestValidationError, HTTPException, Exception):
        server.add_exception_handler(kind, refused)

    def count(method: str, route: str, status: int) -> None:
        measures.requests.labels(method, route, str(status)).inc()

    server.add_middleware(Guard, auth=access.auth, api_key=access.api_key, count=count)
    return server


def _add_gradio_endpoint(server: Server, queue: Queue, restoration: Restoration) -> None:
    """`restore` for Gradio's own clients: a file in, the picture as a data URL out; through the same queue."""

    @server.api(name="restore", concurrency_limit=None)  # type: ignore[untyped-decorator]
    def restore(photo: FileData, settings: dict[str, Any], format: str = "png", quality: int = 95) -> dict[str, Any]:
        """Restore a photo. settings: as in /v1/restore; {} for the usual ones."""
        wish = read_wish(settings or {}, restoration.restorer)
        content = _uploaded(server, photo)
        job = queue.submit("gradio", "photo", content, restoration.restore(wish))
        try:
            while (found := queue.wait(job, 1)).state not in ENDED:
                pass
            if found.state != "done":
                raise SeesrError(found.error or "cancelled")
            if format not in FORMATS:
                raise SeesrError(f"no format {format!r}; there are {', '.join(FORMATS)}")
            picture = encoded(job, format, quality).read_bytes()
            return about(job) | {"picture": f"data:{FORMATS[format]};base64,{base64.b64encode(picture).decode()}"}
        finally:
            queue.remove(job)


def _uploaded(server: Server, photo: Any) -> bytes:
    """The content of a file that this server was sent, which is removed."""
    values = photo if isinstance(photo, dict) else photo.model_dump()
    url = values.get("url") or ""
    if url.startswith("data:"):
        try:
            return base64.b64decode(url.partition("base64,")[2], validate=True)
        except binascii.Error:
            raise SeesrError("the photo is not base64") from None
    folder = Path(server.uploaded_file_dir).resolve()
    file = Path(str(values.get("path") or "")).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise SeesrError("send the photo as an upload")
    content = file.read_bytes()
    file.unlink(missing_ok=True)
    return content


__all__ = ["Access", "WebJob", "make_server", "running"]
