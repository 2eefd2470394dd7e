"""The web page and its interface, asked as browsers and programs ask them; the models are stood in for."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import gradio
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from typer.testing import CliRunner

import app
from contracts import Motion
from encoders.audio.media import frame_count, load_audio, probe_audio
from moda.flow.sampler import SamplerConfig
from moda.motion.saved import save_motion
from moda.render import Scene
from pipelines import ModaError, Progress
from pipelines.cli.main import app as cli
from pipelines.options import TalkOptions
from pipelines.talk import Voice, sampler_config
from pipelines.web.form import timeline
from pipelines.web.studio import Result, Studio
from pipelines.web.workspace import Limits, Workspace
from tests.media_support import PORTRAIT, tone, write_sound, write_wav

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")  # its use of pandas

VOICE = PORTRAIT.with_name("voice_en.wav")
LONG = 13  # the seed of a job that takes minutes
SHOT = (Scene(cast("Any", None), 64), np.zeros((64, 64, 3), np.uint8))
LIMITS = Limits(seconds=10, megabytes=3, megapixels=4)


class Head:
    """Stands for the models: what the page does with a pipeline is the point here, not the video. The "video" tells
    which recording and which options it is of."""

    def __init__(self) -> None:
        self.asked: list = []
        self.heard = 0
        self.running = self.most = 0
        self.closed = 0.0  # when a job was last stopped

    def listen(self, audio, longest=None) -> Voice:
        self.heard += 1
        return Voice(Path(audio), load_audio(audio, longest), ())

    def talk(self, portrait, audio, out, options) -> Iterator[Progress]:
        self.asked.append(options)
        self.running += 1
        self.most = max(self.most, self.running)
        frames = frame_count(len(audio.waveform))
        try:
            yield Progress("face", 100, 100, warnings=("the face is small",))
            total = 100_000 if options.seed == LONG else 20
            for done in range(total):
                time.sleep(0.002)
                yield Progress("video", done + 1, total, shot=SHOT)
            save_motion(options.save_motion, Motion(np.ones((frames, 70), np.float32)))
            Path(out).write_bytes(b"\0\0\0\x18ftypisom" + json.dumps([frames, options.seed, options.emotion]).encode())
        except GeneratorExit:
            self.closed = time.monotonic()
            raise
        finally:
            self.running -= 1


def content(video) -> list:
    """What the stand-in was asked for."""
    return json.loads(Path(video).read_bytes()[12:])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    yield Workspace(root)
    os.environ.pop("GRADIO_TEMP_DIR")
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def head():
    return Head()


@pytest.fixture(scope="module")
def studio(head, workspace):
    return Studio(head, workspace, LIMITS)


@pytest.fixture(scope="module")
def url(studio):
    page = app.build(studio, concurrency=2)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **app.serving(studio))
    yield url
    page.close()


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def ask(client, portrait=PORTRAIT, voice=VOICE, consent=True, **options):
    return client.submit(handle_file(str(portrait)), handle_file(str(voice)), consent, options, api_name="/talk")


def test_a_video_comes_back(client, head):
    job = ask(client, emotion="happiness:0.8", seed=7)
    video, motion, report = job.result(timeout=60)
    assert content(video) == [195, 7, "happiness:0.8"]
    assert Path(motion).suffix == ".npz"
    assert report["command"] == (
        "moda talk portrait.jpg voice_en.wav -o moda-happiness.mp4 --emotion happiness:0.8 --seed 7"
    )
    assert report["settings"]["audio"] == "voice_en.wav"
    assert report["seconds"] == pytest.approx(7.776, abs=0.01)
    assert {state["stage"] for _, _, state in job.outputs()[:-1]} == {"face", "video"}


def test_a_swap_keeps_voice_seed_and_head(client, head):
    _, motion, first = ask(client, seed=5).result(timeout=60)
    heard = head.heard
    video, _, report = client.predict(first["result"], "fear:0.5", True, api_name="/swap")
    assert content(video) == [195, 5, "fear:0.5"]
    assert Path(head.asked[-1].head_from).name == Path(motion).name == "moda-neutral.npz"
    assert head.heard == heard  # nor is the voice heard again
    assert "--head-from moda-neutral.npz" in report["command"]


def test_the_faces_of_a_picture(client):
    (face,) = client.predict(handle_file(str(PORTRAIT)), api_name="/faces")
    assert face["usable"] and face["face"] == 1
    assert face["size"] == pytest.approx(55, abs=2)  # px


@pytest.mark.parametrize("consent", [False, None, "yes"])
def test_without_consent_nothing_is_made(client, head, consent):
    before = len(head.asked)
    with pytest.raises(AppError, match="say first that you have the right"):
        ask(client, consent=consent).result(timeout=60)
    assert len(head.asked) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sed": 1}, "there is no option 'sed'"),
        ({"seed": "1"}, "'1' is no value of the option seed"),
        ({"seed": True}, "True is no value of the option seed"),
        ({"steps": 0}, "steps 0 is outside 1..100"),
        ({"frame": "round"}, "'round' is no value of the option frame"),
        ({"save_motion": "/etc/passwd"}, "there is no option 'save_motion'"),
        ({"head_from": "/etc/passwd"}, "there is no option 'head_from'"),
        ({"weights": "/etc"}, "there are no weights '/etc' here; choose from lite"),
        ({"weights": "random-base"}, "there are no weights 'random-base' here; choose from lite"),
    ],
)
def test_bad_options_are_a_line(client, options, says):
    with pytest.raises(AppError, match=re.escape(says)):
        ask(client, **options).result(timeout=60)


@pytest.mark.parametrize("name", ["", "nothing", "../../etc", "." * 22])
def test_an_unknown_result_is_a_line(client, name):
    with pytest.raises(AppError, match="results are kept for an hour"):
        client.predict(name, "fear", True, api_name="/swap")


def test_files_that_are_none_are_a_line_without_folders(client, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    with pytest.raises(AppError, match=r"^text\.wav is not a readable recording"):
        ask(client, voice=text).result(timeout=60)
    with pytest.raises(AppError, match=r"^text\.wav is not a picture"):
        ask(client, portrait=text).result(timeout=60)


def test_a_recording_has_a_longest_length(client, tmp_path):
    voice = write_wav(tmp_path / "long.wav", tone(10.1, 16_000))
    with pytest.raises(AppError, match="more than the 10 s"):
        ask(client, voice=voice).result(timeout=60)


def test_a_header_of_ten_hours_is_believed(client, tmp_path):
    """Nothing is decoded of a file that says it is too long."""
    voice = write_sound(tmp_path / "hours.flac", tone(1, 8000), "flac", 8000)
    flac = bytearray(voice.read_bytes())
    info = int.from_bytes(flac[18:26])  # of STREAMINFO: rate, channels, bits, and 36 bits of how many samples
    flac[18:26] = (info >> 36 << 36 | 10 * 3600 * 8000).to_bytes(8)
    voice.write_bytes(flac)
    assert probe_audio(voice).seconds == 36_000
    with pytest.raises(AppError, match="more than the 10 s"):
        ask(client, voice=voice).result(timeout=60)


def test_a_picture_has_a_largest_size(client, tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")  # 110 kB; 2.7 GB as RGB
    with pytest.raises(AppError, match="more than the 4 million pixels"):
        ask(client, portrait=tmp_path / "bomb.png").result(timeout=60)
    Image.new("RGB", (2100, 2000)).save(tmp_path / "large.png")
    with pytest.raises(AppError, match="more than the 4 million pixels"):
        client.predict(handle_file(str(tmp_path / "large.png")), api_name="/faces")


def test_an_upload_has_a_largest_size(url, tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(4_100_000))
    refused = curl("-F", f"files=@{tmp_path / 'large.bin'}", f"{url}gradio_api/upload", "-w", "%{http_code}")
    assert refused == "the upload is larger than the 3 MB that are taken here\n413"
    unsaid = curl("-F", f"files=@{tmp_path / 'large.bin'}", "-H", "Transfer-Encoding: chunked", "-w", "%{http_code}",
                  f"{url}gradio_api/upload")  # fmt: skip
    assert unsaid.endswith(("413", "400", "500"))
    assert curl(f"{url}config", "-o", "/dev/null", "-w", "%{http_code}") == "200"  # it still answers


def test_a_gigabyte_that_is_only_claimed_is_refused_at_once(url):
    host, port = re.match(r"http://(.*):(\d+)/", url).groups()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
        )
        assert b" 413 " in connection.recv(1000)


def test_names_do_not_lead_out_of_the_folder(url, workspace, tmp_path):
    (tmp_path / "x").write_text("x")
    (path,) = json.loads(curl("-F", f"files=@{tmp_path / 'x'};filename=../../../x.png", f"{url}gradio_api/upload"))
    assert Path(path).resolve().is_relative_to(workspace.root)


@pytest.mark.parametrize("path", ["/etc/passwd", str(Path(app.__file__)), "../../etc/passwd"])
def test_files_of_the_machine_are_neither_read_nor_served(url, client, path):
    given = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert "error" in call(url, "faces", [given])
    served = curl("--path-as-is", f"{url}gradio_api/file={path}", "-o", "/dev/null", "-w", "%{http_code}")
    assert served in ("403", "404")


def test_nothing_is_fetched_for_anybody(url):
    """An address instead of a file would make the server ask another one."""
    given = {"path": "https://example.org/face.png", "meta": {"_type": "gradio.FileData"}}
    for data in ([given], [[{"deeper": given}]]):
        body = json.dumps({"data": data}).replace("://", "\\u003a//")
        told = curl("-H", "Content-Type: application/json", "-d", body, f"{url}gradio_api/call/faces")
        assert told == "upload the file: addresses are not fetched\n"


def more(url, *asked) -> bytes | None:
    """What the page's script is given for a preview."""
    parts = json.loads(curl(f"{url}config"))["components"]
    (preview,) = (part["id"] for part in parts if part["props"].get("elem_id") == "preview")
    body = {"data": list(asked), "fn_name": "more", "component_id": preview, "session_hash": "any"}
    told = curl(f"{url}gradio_api/component_server", "-H", "Content-Type: application/json", "-d", json.dumps(body))
    return None if json.loads(told) is None else base64.b64decode(json.loads(told), validate=True)


def test_a_preview_grows_and_does_not_outlive_its_result(url, studio):
    result = studio.begin(PORTRAIT, VOICE, TalkOptions(seed=LONG), consent=True)
    assert more(url, result.name, 0) is None  # not begun
    filming = studio.film(result, preview=True)
    data = b""
    for step in filming:
        if step.done % 12 == 0 and len(data := data + (more(url, result.name, len(data)) or b"")) > 5_000:
            break
    with av.open(io.BytesIO(data)) as video:
        assert video.streams.video[0].codec_context.name == "h264"
    filming.close()
    assert more(url, result.name, 0) is None
    assert not result.folder.exists()


@pytest.mark.parametrize(
    "asked",
    [
        ("nothing", 0),
        ("../../etc", 0),
        ("..", 0),
        (["x"], 0),
        (None, None),
        ("x", -1),
        ("x", 10**30),
        ("x", True),
        (),
        (0,),
    ],
)
def test_there_is_no_preview_of_what_is_not_made(url, asked):
    assert more(url, *asked) is None


def test_without_the_password_there_is_no_preview(studio):
    page = app.build(studio)
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", auth=("ada", "secret"), **app.serving(studio)
    )
    body = json.dumps({"data": ["nothing", 0], "fn_name": "more", "component_id": 1, "session_hash": "any"})
    told = curl(f"{url}gradio_api/component_server", "-H", "Content-Type: application/json", "-d", body)
    page.close()
    assert json.loads(told)["detail"]["error"] == "Not authenticated"


def test_cancelling_frees_the_worker(client, head):
    job = ask(client, seed=LONG)
    wait(lambda: any(state["stage"] == "video" for _, _, state in job.outputs()))
    asked, before = time.monotonic(), head.closed
    job.cancel()
    wait(lambda: head.closed > before)
    print(f"stopped {head.closed - asked:.2f} s after it was asked")
    assert head.running == 0
    video, _, _ = ask(client, seed=1).result(timeout=60)
    assert content(video)[1] == 1


def test_leaving_frees_the_worker(url, head, tmp_path):
    """Who closes the page does not keep others waiting."""
    given = [upload(url, PORTRAIT), upload(url, VOICE), True, {"seed": LONG}]
    joined = curl(
        "-H", "Content-Type: application/json", f"{url}gradio_api/call/talk", "-d", json.dumps({"data": given})
    )
    event = json.loads(joined)["event_id"]
    before = head.closed
    with subprocess.Popen(["curl", "-sN", f"{url}gradio_api/call/talk/{event}"], stdout=subprocess.PIPE) as listening:
        assert listening.stdout
        while b"generating" not in listening.stdout.readline():
            pass
        listening.terminate()
    wait(lambda: head.closed > before)


def test_eight_at_once_get_what_is_theirs(client, url, head, tmp_path):
    voices = [write_wav(tmp_path / f"{n}.wav", tone(0.4 + 0.04 * n, 16_000)) for n in range(8)]
    head.most = 0
    clients = [Client(url, verbose=False, download_files=str(tmp_path / f"client{n}")) for n in range(8)]
    jobs = [
        ask(visitor, voice=voice, seed=100 + n) for n, (visitor, voice) in enumerate(zip(clients, voices, strict=True))
    ]
    results = [job.result(timeout=120) for job in jobs]
    assert [content(video)[:2] for video, _, _ in results] == [[10 + n, 100 + n] for n in range(8)]
    assert len({report["result"] for _, _, report in results}) == 8
    assert head.most == 2  # as many as were allowed


def test_beginning_at_once_loses_nothing(head, tmp_path):
    """Every result is found, whatever threads begin others meanwhile, and none is kept whose folder is gone."""
    studio = Studio(head, Workspace(tmp_path))

    def begin(_: int) -> list[Result]:
        results = [studio.begin(PORTRAIT, VOICE, TalkOptions(), consent=True) for _ in range(40)]
        for result in results[::2]:
            result.folder.rmdir()
        return results

    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(8) as threads:
            begun = [result for results in threads.map(begin, range(8)) for result in results]
    finally:
        sys.setswitchinterval(interval)
    for result in begun[1::2]:
        result.motion.touch()
        assert studio.find(result.name) == result
    studio.begin(PORTRAIT, VOICE, TalkOptions(), consent=True)
    assert len(studio._results) == 8 * 20 + 1


def test_curl_as_in_the_readme(url):
    told = call(url, "talk", [upload(url, PORTRAIT), upload(url, VOICE), True, {"emotion": "sadness", "seed": 3}])
    video, _, report = json.loads(told.rpartition("data: ")[2])
    assert video["path"].endswith("moda-sadness.mp4")
    assert report["settings"]["seed"] == 3
    assert curl(video["url"]).endswith('3, "sadness"]')


def test_folders_are_gone_when_they_are_old(tmp_path):
    workspace = Workspace(tmp_path, keep=100)
    old, used, new = (workspace.new() for _ in range(3))
    assert len({old.name, used.name, new.name}) == 3 and old.stat().st_mode & 0o777 == 0o700
    for folder in (old, used):
        (folder / "file").write_text("x")
        for path in (folder / "file", folder):
            os.utime(path, (time.time() - 200,) * 2)
    workspace.use(used / "file")
    workspace.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([used.name, new.name])


def test_all_emotions_at_once_can_be_asked_for(studio):
    first = studio.begin(PORTRAIT, VOICE, TalkOptions(emotion="fear", seed=3), consent=True)
    first.motion.write_bytes(b"")  # it is finished
    grid = studio.swap(first.name, "all:0.5", consent=True)
    assert (grid.grid, grid.settings["emotion"], grid.settings["seed"]) == (0.5, "all:0.5", 3)
    assert studio.swap(first.name, "anger:0.5", consent=True).options.emotion == "anger:0.5"
    for wrong in ("all:2", "all:x", "joy"):
        with pytest.raises(ModaError):
            studio.swap(first.name, wrong, consent=True)


def test_the_page_opens_without_the_examples(studio, tmp_path, monkeypatch):
    """As from a wheel, which does not hold them."""
    monkeypatch.setattr(app, "EXAMPLES", tmp_path)
    page = app.build(studio)
    names = [block.value for block in page.blocks.values() if isinstance(block, gradio.Button)]
    assert not any(str(name).startswith("Sample") for name in names)


def test_the_page_begins_with_what_talk_does_by_itself(studio, monkeypatch):
    monkeypatch.setattr("pipelines.web.form.installed", lambda: ("lite", "moda"))
    blocks = app.build(studio).blocks.values()
    values = {block.label: block.value for block in blocks if isinstance(block, gradio.Slider | gradio.Dropdown)}
    sampler = sampler_config(TalkOptions(), SimpleNamespace(sampler=SamplerConfig()))
    assert values["Steps of the sampler"] == sampler.steps == 5
    assert values["Speech guidance"] == sampler.guidance.audio
    assert values["Emotion guidance"] == sampler.guidance.emotion
    assert values["Weights"] == TalkOptions().weights


def test_the_timeline_is_sorted_and_begins_at_once():
    assert timeline("neutral", 0.5, []) == "neutral"
    assert timeline("fear", 0.5, []) == "fear:0.5"
    assert timeline("auto", 0.5, [(4.0, "fear", 1.0), (2.5, "anger", 0.7)]) == "0:auto,2.5:anger:0.7,4:fear:1"


def test_a_port_that_is_taken_is_one_line(head, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # which launching sets, for good
    monkeypatch.setattr(app, "TalkingHead", lambda device: head)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ModaError, match="choose another --port"):
            app.launch(port=taken.getsockname()[1])


def test_another_fault_is_not_taken_for_the_port(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")

    def broken(device):
        raise FileNotFoundError("a file of ours")

    monkeypatch.setattr(app, "TalkingHead", broken)
    with pytest.raises(FileNotFoundError):
        app.launch()
    result = CliRunner().invoke(cli, ["app"])
    assert result.exit_code == 1
    assert "--port" not in result.stderr


@pytest.mark.parametrize(("host", "auth", "warned"), [("0.0.0.0", None, 1), ("127.0.0.1", None, 0), ("::", "a:b", 0)])
def test_an_open_page_asks_for_a_password(monkeypatch, host, auth, warned):
    def stop(device):
        raise ModaError("enough")

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(app, "TalkingHead", stop)
    result = CliRunner().invoke(cli, ["app", "--host", host, *(["--auth", auth] if auth else [])])
    assert result.stderr.count("--auth USER:PASS") == warned


@pytest.mark.parametrize("auth", ["ada", "ada:", ":secret", ""])
def test_half_a_password_is_refused(auth):
    assert CliRunner().invoke(cli, ["app", "--auth", auth]).exit_code == 2


def test_nothing_is_reported_home(url):
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert gradio.analytics.analytics_enabled() is False
    headers = curl("-I", url)
    assert "default-src 'self'" in headers


def wait(condition) -> None:
    """The suite's time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.02)


def curl(*arguments) -> str:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout


def upload(url, path) -> dict:
    """A file as an argument of the interface."""
    (uploaded,) = json.loads(curl("-F", f"files=@{path}", f"{url}gradio_api/upload"))
    return {"path": uploaded, "meta": {"_type": "gradio.FileData"}}


def call(url, name, data) -> str:
    """The events that a call is answered with."""
    asked = curl(
        "-H", "Content-Type: application/json", f"{url}gradio_api/call/{name}", "-d", json.dumps({"data": data})
    )
    return curl("-N", f"{url}gradio_api/call/{name}/{json.loads(asked)['event_id']}")
