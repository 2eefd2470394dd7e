"""Who may ask the page for what, over real HTTP: raw requests to a page whose models are stood in for."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

import app
from pipelines.web.rules import Names, Tries
from pipelines.web.studio import Studio
from pipelines.web.workspace import BROKEN_OFF, LOCK, PREFIX, Limits, Workspace, open_workspace, remove_left

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")  # its use of pandas
LIMITS = Limits(seconds=10, megabytes=3)
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(root))
        yield Workspace(root)


def open_page(workspace, names=None, auth=None):
    studio = Studio(None, workspace, LIMITS)
    page = app.build(studio)
    page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", auth=auth, **app.serving(studio, names)
    )  # fmt: skip
    return page


@pytest.fixture(scope="module")
def port(workspace):
    page = open_page(workspace)
    yield page.server_port
    page.close()


@pytest.fixture(scope="module")
def locked(workspace):
    page = open_page(workspace, Names(more=("moda.example.org",)), ("ada", "secret"))
    yield page.server_port
    page.close()


def ask(port: int, line: str, *headers: str, body: bytes = b"", host: str | None = "127.0.0.1") -> tuple[int, str]:
    """Status, and the whole answer, to a request as it is written here."""
    named = [] if host is None else [f"Host: {host}"]
    counted = [f"Content-Length: {len(body)}"] if body and not any("Encoding" in header for header in headers) else []
    head = "\r\n".join([f"{line} HTTP/1.1", *named, *headers, *counted, "Connection: close", "", ""])
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not listen to the end: what it said counts
            connection.sendall(head.encode("latin-1") + body)
        with suppress(ConnectionResetError):
            while len(answer) < 100_000 and (part := connection.recv(65_536)):
                answer += part
    return int(answer.split()[1]), answer.decode("latin-1")


def data(*values) -> bytes:
    return json.dumps({"data": values}).encode()


@pytest.fixture
def elsewhere():
    """A server that the page must not ask: its address, and what was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/face.png", asked
        server.shutdown()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("route", ["file=", "proxy=", "file/", "stream/", "custom_component/"])
def test_the_server_asks_nobody_in_its_name(port, elsewhere, method, route):
    address, asked = elsewhere
    for url in (address, quote(address, safe=""), address.replace("http", "HTTP"), "https://example.org/x.png"):
        assert ask(port, f"{method} /gradio_api/{route}{url}")[0] == 404
    assert asked == []


@pytest.mark.parametrize(
    "route",
    [
        "GET /monitoring", "GET /monitoring/summary", "GET /gradio_api/runs", "GET /gradio_api/dev/reload",
        "GET /gradio_api/token", "GET /gradio_api/deep_link", "POST /gradio_api/process_recording",
        "POST /gradio_api/vibe-edit", "GET /gradio_api/vibe-code", "POST /gradio_api/stream/x/close",
        "GET /gradio_api/stream/a/b/1/playlist.m3u8", "POST /gradio_api/run-history/connect", "OPTIONS /config",
        "PUT /config", "GET /gradio_api/mcp/sse", "GET /docs", "GET /openapi.json", "GET /gradio_api/file=/etc/passwd",
        "GET /gradio_api/file=%2e%2e/etc/passwd", "GET /gradio_api/profiling/traces",
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(port, route):
    status, answer = ask(port, route)
    assert status == 404 and answer.endswith("there is nothing here\n")


def test_our_files_are_given_out(port, workspace):
    (workspace.root / "x.png").write_bytes(b"mine")
    status, answer = ask(port, f"GET /gradio_api/file={workspace.root}/x.png")
    assert status == 200 and answer.endswith("mine")
    outside = workspace.root.parent / "outside.png"
    outside.write_bytes(b"not mine")
    for path in (outside, f"{workspace.root}/../outside.png", f"{workspace.root}x/../outside.png"):
        assert ask(port, f"GET /gradio_api/file={path}")[0] == 404
    (workspace.root / "link.png").symlink_to(outside)
    assert ask(port, f"GET /gradio_api/file={workspace.root}/link.png")[0] in (403, 404)


FORM = "Content-Type: multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    "headers",
    [
        (JSON, FORM),
        (FORM, JSON),
        (JSON, JSON),
        ("Content-Length: 20", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Host: localhost",),
        ("Origin: http://127.0.0.1", "Origin: http://example.org"),
    ],
)
def test_headers_that_contradict_each_other_are_refused(port, headers):
    assert ask(port, "POST /gradio_api/call/faces", *headers, body=data(None))[0] == 400


@pytest.mark.parametrize("kind", [JSON, FORM, "Content-Type: text/plain"])
def test_a_body_without_length_is_counted(port, kind):
    """Over the bytes of a request, and of a file where one is uploaded; a form is no way around it."""
    part = b"%x\r\n%s\r\n" % (500_000, bytes(500_000))
    body = part * 3 + b"0\r\n\r\n"
    status, _ = ask(port, "POST /gradio_api/call/faces", kind, "Transfer-Encoding: chunked", body=body)
    assert status == 413
    assert ask(port, "POST /gradio_api/call/faces", kind, body=bytes(1_100_000))[0] == 413


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost:80", "page.localhost", "[::1]:7860"])
def test_loopback_is_known(port, host):
    assert ask(port, "GET /config", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", [None, "", "example.org", "localhost.example.org", "127.0.0.1.example.org", "192.168.1.5", "a b", "[::1"]
)
def test_a_foreign_host_is_refused(port, host):
    status, answer = ask(port, "GET /config", host=host)
    assert status in (400, 421) and "components" not in answer


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://localhost:3000", "https://127.0.0.1.nip.io"])
@pytest.mark.parametrize("line", ["GET /config", "POST /gradio_api/call/faces", "OPTIONS /gradio_api/upload"])
def test_another_page_may_not_ask(port, line, origin):
    status, answer = ask(port, line, f"Origin: {origin}", "Access-Control-Request-Method: POST", host="127.0.0.1:80")
    assert status == 403 and "access-control-allow" not in answer.lower()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860"])
def test_the_page_itself_may(port, host):
    assert ask(port, "GET /config", f"Origin: http://{host}", host=host)[0] == 200


def test_a_name_behind_a_proxy_is_allowed(locked):
    body = b"username=ada&password=secret"
    form = "Content-Type: application/x-www-form-urlencoded"
    for host in ("moda.example.org", "127.0.0.1:7860"):  # proxies pass on the name, or do not
        status, answer = ask(locked, "POST /login", form, "Origin: https://moda.example.org", body=body, host=host)
        assert status == 200
    cookies = re.findall(r"(?im)^set-cookie: (.*)$", answer)
    assert len(cookies) == 2
    assert all(re.findall(r"(?i)samesite=(\w+)", cookie) == ["Lax"] for cookie in cookies)


@pytest.mark.parametrize(
    ("names", "host", "allowed"),
    [
        (Names("0.0.0.0"), "192.168.1.5:7860", True),
        (Names("0.0.0.0"), "[fe80::1]:7860", True),
        (Names("0.0.0.0"), socket.gethostname(), True),
        (Names("0.0.0.0"), f"{socket.gethostname()}.local:7860", True),
        (Names("::"), "10.0.0.1", True),
        (Names("0.0.0.0"), "example.org", False),
        (Names("0.0.0.0", ("example.org",)), "EXAMPLE.org.:7860", True),
        (Names("0.0.0.0", ("example.org",)), "www.example.org", False),
        (Names("page.lan"), "page.lan", True),
        (Names("127.0.0.1"), "192.168.1.5", False),
        (Names("127.0.0.1", shared=True), "0123abc.gradio.live", True),
        (Names("127.0.0.1"), "0123abc.gradio.live", False),
        (Names("127.0.0.1", shared=True), "gradio.live.example.org", False),
    ],
)
def test_the_names_of_a_page(names, host, allowed):
    assert names.allow(host) is allowed


def test_wrong_passwords_are_slowed(workspace):
    page = open_page(workspace, auth=("ada", "secret"))
    form = "Content-Type: application/x-www-form-urlencoded"
    try:
        wrong = [ask(page.server_port, "POST /login", form, body=b"username=ada&password=x")[0] for _ in range(7)]
        assert wrong == [400] * 5 + [429] * 2
        status, answer = ask(page.server_port, "POST /login", form, body=b"username=ada&password=secret")
        assert status == 429 and "too many wrong passwords; try again in" in answer
    finally:
        page.close()


def test_tries_are_counted_by_client_and_forgotten():
    now = [0.0]
    tries = Tries(most=2, seconds=60, clients=10, clock=lambda: now[0])
    assert [tries.wait("10.0.0.1") for _ in range(3)] == [0, 0, 60]
    assert tries.wait("10.0.0.2") == 0
    now[0] = 61.0
    assert tries.wait("10.0.0.1") == 0
    for n in range(5):  # right passwords are no tries
        assert tries.wait("10.0.0.3") == 0, n
        tries.forgive("10.0.0.3")
    assert [tries.wait(f"2001:db8::{n}") for n in range(3)] == [0, 0, 60]  # one who has many addresses
    for n in range(1000):
        tries.wait(f"10.1.{n % 250}.{n // 250}")
    assert len(tries._failed) == 10


def call(port: int, name: str, *values) -> str:
    """The last event that a call is answered with."""
    status, answer = ask(port, f"POST /gradio_api/call/{name}", JSON, body=data(*values))
    if status != 200:
        return answer
    event = re.search(r'"event_id":\s*"(\w+)"', answer)
    assert event, answer
    return ask(port, f"GET /gradio_api/call/{name}/{event[1]}")[1]


def upload(port: int, path: Path) -> dict:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'.encode()
    _, answer = ask(port, "POST /gradio_api/upload", FORM, body=head + path.read_bytes() + b"\r\n--x--\r\n")
    (found,) = json.loads(re.search(r"\[.*\]", answer)[0])
    return {"path": found, "meta": {"_type": "gradio.FileData"}}


NESTED: list = []
for _ in range(40):
    NESTED = [NESTED]


@pytest.mark.parametrize("options", [[1], [], 1, "seed", False, NESTED, {"seed": NESTED}, {"seed": [7]}])
def test_options_that_are_no_object_are_a_line(port, options, capfd):
    given = upload(port, app.EXAMPLES / "portrait.jpg"), upload(port, app.EXAMPLES / "voice_en.wav")
    told = call(port, "talk", *given, True, options)
    assert "are no object" in told or "is no value of the option" in told, told
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("wrong", [1, "yes", [True], {"a": 1}, None])
def test_consent_of_another_type_is_none(port, wrong):
    given = upload(port, app.EXAMPLES / "portrait.jpg"), upload(port, app.EXAMPLES / "voice_en.wav")
    assert "event: error" in call(port, "talk", *given, wrong, {})


@pytest.mark.parametrize("name", [None, 7, [], {"a": 1}])
def test_a_result_of_another_type_is_a_line(port, name, capfd):
    assert "results are kept for an hour" in call(port, "swap", name, "fear", True)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("picture", [None, 7, "x", [], {}, {"path": 7, "meta": {"_type": "gradio.FileData"}}])
def test_a_picture_of_another_type_is_an_error(port, picture, capfd):
    assert "event: error" in call(port, "faces", picture)


def test_what_is_nested_without_end_is_a_line(port):
    for depth in (100, 100_000):
        body = b'{"data": [' + b"[" * depth + b"]" * depth + b"]}"
        status, answer = ask(port, "POST /gradio_api/call/faces", JSON, body=body)
        assert status == 400 and answer.endswith("the request is nested too deeply; send plain values\n")


def test_what_a_killed_server_leaves_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, other = tmp_path / f"{PREFIX}left", tmp_path / "another-folder"
    for folder in (left, other):
        (folder / "visitor").mkdir(parents=True)
        (folder / LOCK).touch()
        os.utime(folder / LOCK, (time.time() - 60,) * 2)
    with open_workspace() as living:
        assert not left.exists() and other.exists()
        os.utime(living.root / LOCK, (time.time() - 60,) * 2)
        with open_workspace() as second:
            assert living.root.is_dir() and second.root != living.root
        assert not second.root.exists()
        remove_left(tmp_path)
        assert living.root.is_dir()
    assert not living.root.exists()


def test_an_upload_that_was_broken_off_is_removed(tmp_path):
    workspace = Workspace(tmp_path)
    for name, age in (("old", BROKEN_OFF + 10), ("new", 0), (LOCK, 10_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    workspace.clean()
    assert {path.name for path in tmp_path.iterdir()} == {"new", LOCK}
