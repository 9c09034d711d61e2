"""What the server hands out besides Gradio's page: a visitor's own sounds; and what it refuses."""

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

from tiny_audio_diffusion.app.session import Sessions, Take

LOOPBACK = ("127.0.0.1", "localhost")
# The page and what it asks for come from here and nowhere else: it needs no internet and tells nobody of its visitors.
# Gradio's components are built from text, hence unsafe-eval.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
# Addresses of Gradio that fetch from elsewhere, or show how the server is doing; the page has no use for them.
CLOSED = re.compile(r"/(gradio_api/)?(file[=/][a-z][a-z0-9+.-]*:/|proxy=|deep_link|monitoring)", re.IGNORECASE)


def routes(sessions: Sessions) -> list[Route]:
    """Where sounds and kits are found: by a visitor's token and numbers, so that no address is a path."""

    def take(request: Request) -> Take:
        session = sessions.find(request.path_params["token"])
        found = None if session is None else session.takes.get(request.path_params["take"])
        if found is None:
            raise HTTPException(404)
        return found

    def sound(request: Request) -> FileResponse:
        found, place = take(request), request.path_params["place"]
        if place >= len(found.files):
            raise HTTPException(404)
        return FileResponse(found.files[place], media_type="audio/wav", headers={"cache-control": "private"})

    def kit(request: Request) -> FileResponse:
        found = take(request)
        if not found.sounds:
            raise HTTPException(404)
        return FileResponse(found.archive(), filename=f"kit_{found.number}.zip", media_type="application/zip")

    return [
        Route("/sounds/{token}/{take:int}/{place:int}.wav", sound),
        Route("/sounds/{token}/{take:int}/kit.zip", kit),
    ]


def middleware(host: str, *, share: bool) -> list[Middleware]:
    """The gate; on loopback also against names that others have pointed here (DNS rebinding)."""
    trusted = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))]
    return [*(trusted if host in LOOPBACK and not share else []), Middleware(Gate)]


class Gate:
    """Refuses what the page has no use for, and sends what browsers are to keep to with every answer."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and CLOSED.match(scope["path"]):
            await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
            return

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS.items()]
            await send(message)

        await self.app(scope, receive, send_on)
