"""Bad input against the real server, in a process of its own: a clear answer, a server that lives, memory in bounds."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.app.server_support import HOST, serve
from tests.media_support import PORTRAIT, synthetic_voice, tone, write_sound, write_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc/PID/clear_refs to measure with"),
]
VOICE = PORTRAIT.with_name("voice_en.wav")
MEGAPIXELS = 49  # just below the limit: 196 MB, once decoded
BOUND = 400_000_000  # bytes that any of these may need for a while: once the picture, but not twice


class Server:
    """`moda app`, and how much memory it takes."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://{HOST}:{port}/"

    def client(self) -> Client:
        return Client(self.url, verbose=False, download_files=False)

    def memory(self, what: str) -> int:
        """VmRSS or VmHWM, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kilobytes,) = re.findall(rf"{what}:\s+(\d+) kB", status)
        return int(kilobytes) * 1024

    def growth(self, ask: Callable[[], object]) -> int:
        """How far its memory rises above what it was, bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # the peak is from now on
        before = self.memory("VmRSS")
        ask()
        return self.memory("VmHWM") - before

    def post(self, head: str, *parts: bytes) -> bytes:
        """What is answered to a request, of which it need not take all."""
        with socket.create_connection((HOST, self.port), timeout=120) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # it need not listen to the end: what it said counts
                connection.sendall(f"{head}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                for part in parts:
                    connection.sendall(part)
            try:
                return connection.recv(1000)
            except ConnectionResetError:
                return b""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with serve(folder) as (process, port):
        started = Server(process, port)
        talk(started, voice=synthetic_voice(folder / "voice.wav", seconds=2))  # what is loaded at first use
        yield started


def talk(server: Server, portrait: Path = PORTRAIT, voice: Path = VOICE) -> object:
    return server.client().predict(handle_file(str(portrait)), handle_file(str(voice)), True, {}, api_name="/talk")


def faces(server: Server, portrait: Path = PORTRAIT) -> list[dict]:
    return server.client().predict(handle_file(str(portrait)), api_name="/faces")


def blank(path: Path, mode: str) -> Path:
    """A picture that is small as a file and large in memory."""
    side = round((MEGAPIXELS * 1e6) ** 0.5)
    if mode == "I;16":
        Image.fromarray(np.full((side, side), 30_000, np.uint16)).save(path)
    else:
        Image.new(mode, (side, side)).save(path)
    return path


PICTURES = {
    "text.png": ("is not a picture", lambda path: path.write_text("this is no picture")),
    "video.png": ("is not a picture", lambda path: write_video(path.with_suffix(".mp4"), 50).rename(path)),
    "bomb.png": ("more than the 50 million pixels", lambda path: Image.new("1", (30_000, 30_000)).save(path)),
    "rgb.png": ("no face was found", lambda path: blank(path, "RGB")),
    "rgba.png": ("no face was found", lambda path: blank(path, "RGBA")),
    "deep.png": ("no face was found", lambda path: blank(path, "I;16")),
    "palette.png": ("no face was found", lambda path: blank(path, "P")),
    "photo.jpg": ("no face was found", lambda path: blank(path, "RGB")),
}  # fmt: skip


def hours(path: Path, declared: bool) -> Path:
    """Ten hours of silence in a file of 2 MB, or less than a second that says it was as much."""
    seconds = 1 if declared else 36_000
    silence = np.zeros(8000 * seconds, np.float32) if not declared else tone(1, 8000)
    flac = bytearray(write_sound(path, silence, "flac", 8000).read_bytes())
    info = int.from_bytes(flac[18:26])  # of STREAMINFO: rate, channels, bits, and 36 bits of how many samples
    flac[18:26] = (info >> 36 << 36 | (36_000 * 8000 if declared else 0)).to_bytes(8)
    path.write_bytes(flac)
    return path


VOICES = {
    "text.wav": ("is not a readable recording", lambda path: path.write_text("this is no sound")),
    "picture.wav": ("is not a readable recording|has no sound", lambda path: path.write_bytes(PORTRAIT.read_bytes())),
    "mute.mp4": ("has no sound track", lambda path: write_video(path, 50)),
    "claim.flac": ("more than the 120", lambda path: hours(path, declared=True)),
    "hours.flac": ("more than the 120", lambda path: hours(path, declared=False)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "name"), [("portrait", name) for name in PICTURES] + [("voice", name) for name in VOICES]
)
def test_files_of_no_use(server, tmp_path, given, name):
    says, make = (PICTURES | VOICES)[name]
    make(tmp_path / name)

    def ask() -> None:
        with pytest.raises(AppError, match=says):
            talk(server, **{given: tmp_path / name})

    within_bounds(server, ask)


JSON, FORM = "application/json", "multipart/form-data; boundary=x"
BEGIN = b'--x\r\nContent-Disposition: form-data; name="files"; filename="large.bin"\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("kind", [JSON, FORM])
@pytest.mark.parametrize("target", ["gradio_api/upload", "gradio_api/call/talk", "gradio_api/component_server"])
def test_a_gigabyte(server, kind, target):
    """Claimed, and then sent without saying how much it is."""
    post = f"POST /{target} HTTP/1.1\r\nContent-Type: {kind}"
    megabyte = chunk(bytes(1_000_000))

    def ask() -> None:
        assert b" 413 " in server.post(f"{post}\r\nContent-Length: 1000000000", b"x")
        told = server.post(f"{post}\r\nTransfer-Encoding: chunked", chunk(BEGIN), *[megabyte] * 1000)
        assert not told or re.match(rb"HTTP/1.1 [45]\d\d ", told)

    within_bounds(server, ask)


def test_names_that_lead_out(server):
    name = "../" * 40 + "x" * 300_000
    body = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nx\r\n--x--\r\n'.encode()
    post = f"POST /gradio_api/upload HTTP/1.1\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}"
    told = []
    within_bounds(server, lambda: told.append(server.post(post, body)))
    assert re.match(rb"HTTP/1.1 [45]\d\d ", told[0]), told


def within_bounds(server: Server, ask: Callable[[], object]) -> None:
    grown = server.growth(ask)
    print(f"{grown / 1e6:.0f} MB more for a while")
    assert grown < BOUND
    (face,) = faces(server)  # it lives
    assert face["usable"]


def test_pictures_leave_nothing_behind(server, tmp_path):
    """Eight of 49 megapixels at once, twice: 6 kB each as files, 147 MB in memory."""

    def refuse(path: Path) -> None:
        with pytest.raises(AppError, match="no face was found"):
            faces(server, path)

    paths = [tmp_path / f"{n}.png" for n in range(8)]
    for n, path in enumerate(paths):
        picture = Image.open(blank(path, "P"))
        picture.putpixel((n, 0), 1)
        picture.save(path)
    refuse(paths[0])
    before = server.memory("VmRSS")
    for _ in range(2):
        with ThreadPoolExecutor(8) as visitors:
            list(visitors.map(refuse, paths))
    left = server.memory("VmRSS") - before
    print(f"{left / 1e6:.0f} MB left behind")
    assert left < 150_000_000  # less than one of them


def test_cancelling_reaches_into_the_sampler(server, tmp_path):
    """With a hundred steps a window takes seconds; whoever cancels does not hold up the next for as long."""
    voice = handle_file(str(synthetic_voice(tmp_path / "voice.wav", seconds=20)))
    client = server.client()
    for seed in range(2):
        options = {"steps": 100, "seed": seed, "size": 256}
        job = client.submit(handle_file(str(PORTRAIT)), voice, True, options, api_name="/talk")
        while not any(state["stage"] == "video" for *_, state in job.outputs()):
            time.sleep(0.05)
        begun = time.monotonic()
        job.cancel()
        client.submit(handle_file(str(PORTRAIT)), handle_file(str(VOICE)), False, {}, api_name="/talk").exception()
        took = time.monotonic() - begun
        print(f"the place was free {took:.2f} s after it was cancelled")
        assert took < 5


def test_a_killed_server_leaves_nothing_for_long(tmp_path, monkeypatch):
    """Its visitors' faces go when the next one starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serve(tmp_path) as (process, port):
        faces(Server(process, port))
        (left,) = tmp_path.glob("moda-page-*")
        assert list(left.rglob("portrait.jpg"))
        process.kill()
        process.wait()
    assert list(left.rglob("portrait.jpg"))
    with serve(tmp_path):
        assert not left.exists()
        assert len(list(tmp_path.glob("moda-page-*"))) == 1
    assert not list(tmp_path.glob("moda-page-*"))


def test_many_large_pictures_are_not_all_kept(server, tmp_path):
    """Of what was looked at a little is kept, not any number of pictures of 44 MB: 14 would be 620 MB."""
    portrait = Image.open(PORTRAIT).convert("RGB")

    def ask() -> None:
        for n in range(14):
            portrait.putpixel((0, 0), (n, 0, 0))
            portrait.resize((3840, 3840)).save(tmp_path / f"{n}.jpg")
            faces(server, tmp_path / f"{n}.jpg")

    grown = server.growth(ask)
    print(f"{grown / 1e6:.0f} MB more")
    assert grown < 500_000_000
