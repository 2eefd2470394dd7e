"""What stands before the page: no request too large, none that sends us elsewhere, no page that asks anybody else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

#: Whatever the page may load and ask is of its own origin; gradio's start-up is an inline script.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
OVERHEAD = 1_000_000  # bytes of a request beside the file in it


class Guard:
    """ASGI middleware. Refuses a request of more than ``largest`` bytes, whether it says so or not, and one that gives
    an address for a file, which gradio would have the server fetch; sets headers that keep browsers from other hosts.
    """

    def __init__(self, app: Application, largest: int) -> None:
        self.app, self.largest = app, largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        uploading = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        limit = OVERHEAD + (self.largest if uploading else 0)
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            return await self._refuse_size(send)
        if scope["method"] == "POST" and not uploading:
            body = await _read(receive, limit)
            if body is None:
                return await self._refuse_size(send)
            if _names_address(body):
                return await _refuse(send, 400, "upload the file: addresses are not fetched")
            receive = _again(body, receive)
        await self.app(scope, _limited(receive, limit), _with_headers(send))

    async def _refuse_size(self, send: Send) -> None:
        await _refuse(send, 413, f"the upload is larger than the {self.largest / 1e6:g} MB that are taken here")


async def _refuse(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body of a request, None if it is longer."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive`` for a request whose body has been read."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _limited(receive: Receive, limit: int) -> Receive:
    """``receive`` that breaks off a request of more than ``limit`` bytes."""
    done = 0

    async def counted() -> Message:
        nonlocal done
        message = await receive()
        done += len(message.get("body", b""))
        return {"type": "http.disconnect"} if done > limit else message

    return counted


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *HEADERS]}
        await send(message)

    return sent


def _names_address(body: bytes) -> bool:
    """Whether JSON holds a file whose path is an address."""
    try:
        waiting = [json.loads(body)] if body else []
    except (ValueError, RecursionError):  # then it is nothing to gradio either
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False
