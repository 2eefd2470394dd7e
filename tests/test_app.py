"""The web page, asked as a browser asks it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import gradio
import pytest
from gradio_client import Client, handle_file
from media_support import PORTRAIT, files
from typer.testing import CliRunner

import app
from pipelines import ModaError, Progress
from pipelines.cli import app as cli

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")  # its use of pandas

VOICE = PORTRAIT.with_name("voice_en.wav")


class Head:
    """Stands for the models: what the page does with a pipeline is the point here, not the video."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.closed = 0

    def talk(self, portrait, audio, out, options) -> Iterator[Progress]:
        self.asked.append((options.emotion, options.seed))
        if Path(audio).read_bytes()[:4] != b"RIFF":
            raise ModaError(f"{audio} is not a readable recording; convert it to WAV")
        total = 100_000 if options.seed == 13 else 20
        try:
            yield Progress("face", 100, 100, warnings=("the face is small",))
            for done in range(1, total + 1):
                time.sleep(0.001)
                yield Progress("video", done, total)
            Path(out).write_bytes(b"a video")
        except GeneratorExit:
            self.closed += 1
            raise


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    cache, work = (tmp_path_factory.mktemp(name) for name in ("cache", "work"))
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    yield cache, work
    os.environ.pop("GRADIO_TEMP_DIR")
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def head():
    return Head()


@pytest.fixture(scope="module")
def client(head, folders, tmp_path_factory):
    page = app.build(head, str(folders[1]))
    _, url, _ = page.queue().launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", allowed_paths=[str(folders[1])]
    )
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("browser")))
    page.close()


def ask(client, portrait=PORTRAIT, voice=VOICE, emotion="auto", intensity=1.0, seed=0):
    given = [handle_file(str(path)) if path else None for path in (portrait, voice)]
    return client.submit(*given, emotion, intensity, seed, api_name="/speak")


def test_a_video_comes_back(client, head, folders):
    job = ask(client, emotion="happiness", intensity=0.8, seed=7)
    video, message = job.result(timeout=60)
    assert Path(video).read_bytes() == b"a video"
    assert "the face is small" in message
    assert head.asked[-1] == ("happiness:0.8", 7)
    said = [told for _, told in job.outputs()]
    assert any("50%" in told for told in said)
    assert files(folders[1]) == set()  # the page keeps its own copy only


def test_a_cleared_seed_is_the_first(client, head):
    ask(client, seed=None).result(timeout=60)
    assert head.asked[-1] == ("auto", 0)


def test_the_page_opens_without_the_examples(head, tmp_path, monkeypatch):
    """As from a wheel, which does not hold them."""
    monkeypatch.setattr(app, "SAMPLE", [tmp_path / "portrait.jpg", tmp_path / "voice_en.wav"])
    page = app.build(head, str(tmp_path))
    given = [block for block in page.blocks.values() if isinstance(block, gradio.Image | gradio.Audio)]
    assert [block.value for block in given] == [None, None]


def test_a_port_that_is_taken_is_one_line(head, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # which launching sets, for good
    monkeypatch.setattr(app, "TalkingHead", lambda device: head)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ModaError, match="choose another --port"):
            app.launch(port=taken.getsockname()[1])


def test_another_fault_is_not_taken_for_the_port(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def broken(device):
        raise FileNotFoundError("a file of ours")

    monkeypatch.setattr(app, "TalkingHead", broken)
    with pytest.raises(FileNotFoundError):
        app.launch()
    result = CliRunner().invoke(cli, ["app"])
    assert result.exit_code == 1
    assert "--port" not in result.stderr


def test_an_estimated_emotion_has_no_intensity(client, head):
    ask(client, emotion="auto", intensity=0.3).result(timeout=60)
    assert head.asked[-1] == ("auto", 0)


def test_bad_input_is_a_line_without_folders(client, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    video, message = ask(client, voice=text).result(timeout=60)
    assert video is None
    assert message == "**text.wav is not a readable recording; convert it to WAV**"


@pytest.mark.parametrize(("given", "says"), [({"portrait": None}, "portrait"), ({"voice": None}, "voice")])
def test_what_is_missing_is_asked_for(client, given, says):
    video, message = ask(client, **given).result(timeout=60)
    assert video is None
    assert says in message


def test_stopping_closes_the_pipeline(client, head, folders):
    before = head.closed
    job = ask(client, seed=13)
    while not any("%" in told for _, told in job.outputs()):
        time.sleep(0.05)
    job.cancel()
    while head.closed == before:  # the suite's time limit ends a wait in vain
        time.sleep(0.05)
    while files(folders[1]):
        time.sleep(0.05)


def test_nothing_is_reported_home():
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert gradio.analytics.analytics_enabled() is False
