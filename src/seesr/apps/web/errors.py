"""Errors of the API: a status, a kind that programs can rely on, and a sentence for people."""

from fastapi.responses import JSONResponse


class ApiError(Exception):
    """Ends a request.

    status: of HTTP. kind: a stable word, such as `too_large`. retry_after: seconds, where trying again helps.
    """

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after


def error_response(error: ApiError, request_id: str) -> JSONResponse:
    """`{"error": {"kind", "message", "request_id"}}`, with `Retry-After` where it helps."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    content = {"error": {"kind": error.kind, "message": error.message, "request_id": request_id}}
    return JSONResponse(content, error.status, headers)
