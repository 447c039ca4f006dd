"""What every request passes: an id for the log, who may come in, which paths exist at all, and headers for browsers.

Gradio brings many routes of its own. Only those that its clients need are let through; its file server, proxy and
monitoring pages are not.
"""

import base64
import json
import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("seesr.web")

OPEN = re.compile(
    r"/|/page/[a-z-]+\.(?:css|js|svg|jpg)|/health|/metrics|/docs|/openapi\.json|/v1/.*"
    r"|/config|/gradio_api/(?:info|upload|config|startup-events|queue/(?:join|data)|call/.*|heartbeat/.*|cancel|reset)/?"
)
"""Paths that exist; everything else is not found."""

NO_LOGIN = frozenset({"/health", "/gradio_api/startup-events"})
"""Paths that answer without a password or a key: for whoever watches the server, and for its own start."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DOCS_POLICY = (
    "default-src 'self'; img-src data: https:; script-src 'unsafe-inline' https:; style-src 'unsafe-inline' https:"
)


class Guard:
    """ASGI middleware around the whole server.

    Args:
        auth: (user, password) of HTTP basic authentication. api_key: for the header `X-API-Key` or a bearer token.
            Where both are given either will do; without any, everybody may come in.
        count: told of method, route and status of every request.
    """

    def __init__(
        self, app: ASGIApp, auth: tuple[str, str] | None, api_key: str | None, count: Callable[[str, str, int], None]
    ) -> None:
        self.app, self._count = app, count
        self._secrets = []
        if auth:
            self._secrets.append(b"basic " + base64.b64encode(":".join(auth).encode()))
        if api_key:
            self._secrets.append(b"bearer " + api_key.encode())
        self._basic = auth is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and log one request, and hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, path = time.perf_counter(), 0, scope["path"]
        number = secrets.token_hex(6)
        scope.setdefault("state", {})["request_id"] = number

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = _HEADERS | {"X-Request-ID": number}
                if path == "/docs":
                    headers = headers | {"Content-Security-Policy": _DOCS_POLICY}
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in headers.items()),
                ]
            await send(message)

        try:
            if not OPEN.fullmatch(path):
                await _refuse(answer, 404, "not_found", "there is nothing here", number)
            elif path not in NO_LOGIN and not self._may(scope):
                await _refuse(answer, 401, "login", "a password or an API key is needed", number, self._basic)
            else:
                await self.app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "") or "other"
            self._count(scope["method"], route, status)
            entry = {"request_id": number, "method": scope["method"], "path": path[:200], "status": status}
            logger.info(json.dumps(entry | {"seconds": round(seconds, 3)}))

    def _may(self, scope: Scope) -> bool:
        if not self._secrets:
            return True
        headers = dict(scope["headers"])
        kind, _, value = headers.get(b"authorization", b"").partition(b" ")
        shown = [kind.lower() + b" " + value]
        if b"x-api-key" in headers:
            shown.append(b"bearer " + headers[b"x-api-key"])
        return any(secrets.compare_digest(one, other) for one in shown for other in self._secrets)


async def _refuse(
    send: Callable[[Message], object], status: int, kind: str, message: str, number: str, basic: bool = False
) -> None:
    body = json.dumps({"error": {"kind": kind, "message": message, "request_id": number}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if basic:
        headers.append((b"www-authenticate", b'Basic realm="seesr"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": body})  # type: ignore[misc]
