"""What stands before the page: no request too large, none that sends us elsewhere, no page that asks anybody else."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.web.rules import LOGIN, UPLOAD, Names, Tries, is_ours

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
#: What is asked twice is understood in two ways.
DECISIVE = (b"content-type", b"content-length", b"transfer-encoding", b"host", b"origin", b"x-forwarded-host")
DEEPEST = 64  # levels of JSON
TOO_DEEP = "the request is nested too deeply; send plain values"
OVERHEAD = 1_000_000  # bytes of a request beside the file in it


class Guard:
    """ASGI middleware. Refuses a request of more than ``largest`` bytes, whether it says so or not; one that gives an
    address for a file, which gradio would have the server fetch; whatever is none of the page's own routes or out of
    ``folders``; who calls the page by a foreign name or asks from another one; and passwords after the fifth wrong one
    in a minute. Sets headers that keep browsers from other hosts.
    """

    def __init__(self, app: Application, largest: int, names: Names, folders: Sequence[Path]) -> None:
        self.app, self.largest, self.names, self.folders = app, largest, names, folders
        self._tries = Tries()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # no part of the page uses a websocket
            return await send({"type": "websocket.close", "code": 1008})
        headers = _single(scope["headers"])
        if headers is None:
            return await _refuse(send, 400, "the headers contradict each other; send each of them once")
        wrong = self._wrong(scope, headers)
        if wrong is not None:
            return await _refuse(send, *wrong)
        uploading = scope["path"].rstrip("/") == UPLOAD
        limit = OVERHEAD + (self.largest if uploading else 0)
        if int(headers.get(b"content-length", b"0")) > limit:
            return await self._refuse_size(send)
        if scope["method"] == "POST" and not uploading:
            body = await _read(receive, limit)
            if body is None:
                return await self._refuse_size(send)
            fault = _fault(body)
            if fault:
                return await _refuse(send, 400, fault)
            receive = _again(body, receive)
        if scope["path"].rstrip("/") == LOGIN:
            return await self._log_in(scope, receive, send)
        await self.app(scope, _limited(receive, limit), _with_headers(send))

    def _wrong(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and line where a request is to be refused for how it asks."""
        if not headers.get(b"content-length", b"0").isdigit():
            return 400, "the Content-Length is no number"
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.names.allow(host):
            return 421, f"{host[:100]!r} is no name of this page; start it with --allow-host NAME to make it one"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and not self.names.allow_origin(origin, host):
            return 403, f"another page, {origin[:100]!r}, may not use this one; --allow-host NAME says which may"
        if not is_ours(scope["method"], scope["path"], self.folders):
            return 404, "there is nothing here"
        return None

    async def _log_in(self, scope: Message, receive: Receive, send: Send) -> None:
        client = scope["client"][0] if scope.get("client") else ""
        wait = self._tries.wait(client)
        if wait:
            return await _refuse(send, 429, f"too many wrong passwords; try again in {math.ceil(wait)} s")

        async def judged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._tries.forgive(client)
            await send(message)

        await self.app(scope, receive, _with_headers(judged))

    async def _refuse_size(self, send: Send) -> None:
        await _refuse(send, 413, f"the upload is larger than the {self.largest / 1e6:g} MB that are taken here")


def _single(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """Headers by name; None where one that decides something is there twice, or two disagree on the length."""
    counted = Counter(name for name, _ in headers)
    twice = any(counted[name] > 1 for name in DECISIVE)
    return None if twice or (counted[b"content-length"] and counted[b"transfer-encoding"]) else dict(headers)


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
            headers = [(name, _strict(value) if name == b"set-cookie" else value) for name, value in message["headers"]]
            message = {**message, "headers": [*headers, *HEADERS]}
        await send(message)

    return sent


def _strict(cookie: bytes) -> bytes:
    """A cookie that browsers do not send along when another page asks."""
    return re.sub(rb"(?i);\s*samesite=\w+", b"", cookie) + b"; SameSite=Lax"


def _fault(body: bytes) -> str:
    """What is wrong with a body of JSON: a file whose path is an address, or more depth than anything here has."""
    try:
        waiting = [(json.loads(body), 0)] if body else []
    except ValueError:  # then it is nothing to gradio either
        return ""
    except RecursionError:
        return TOO_DEEP
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            return TOO_DEEP
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return "upload the file: addresses are not fetched"
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
    return ""
