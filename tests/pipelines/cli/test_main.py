"""The command line: what it says, what it returns, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contracts import SAMPLE_RATE, Motion
from moda.motion.saved import save_motion
from pipelines.cli.main import app
from pipelines.film.credentials import signing_credential
from pipelines.film.files import free_output
from tests.encoders.audio.test_media import BAD_SOUND
from tests.media_support import PORTRAIT, files, read_frames, tone, write_video, write_wav

ROOT = Path(__file__).parents[3]


def moda(*words: object):
    """Run a command in this process. In its error output a line is a line, however long."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def still(frames: int) -> Motion:
    motion = np.zeros((frames, 70), np.float32)
    motion[:, 63] = 1
    return Motion(motion)


@pytest.fixture
def inputs(tmp_path):
    """A folder of good files, beside the one for what is made of them."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_wav(folder / "voice.wav", tone(0.4, SAMPLE_RATE))
    save_motion(folder / "motion.npz", still(10))
    return folder


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def two_faces(folder: Path) -> Path:
    picture = np.asarray(Image.open(PORTRAIT))
    Image.fromarray(np.concatenate([picture, picture], axis=1)).save(folder / "two.png")
    return folder / "two.png"


def small_face(folder: Path) -> Path:
    picture = Image.open(PORTRAIT)
    picture.resize((picture.width // 3, picture.height // 3)).save(folder / "small.png")
    return folder / "small.png"


def cut_off_face(folder: Path) -> Path:
    picture = np.asarray(Image.open(PORTRAIT))
    Image.fromarray(picture[:, :272]).save(folder / "cut.png")
    return folder / "cut.png"


def no_face(folder: Path) -> Path:
    Image.fromarray(np.full((300, 300, 3), 128, np.uint8)).save(folder / "grey.png")
    return folder / "grey.png"


def no_picture(folder: Path) -> Path:
    (folder / "text.png").write_text("this is no picture")
    return folder / "text.png"


BAD_PORTRAITS = [
    (lambda folder: folder / "nothing.png", "there is no file"),
    (lambda folder: folder, "is a folder"),
    (lambda folder: folder / f"{'x' * 300}.png", "there is no file"),
    (no_picture, "is not a picture"),
    (no_face, "no face was found"),
    (two_faces, "choose one with --face N"),
    (small_face, "the face is too small"),
    (cut_off_face, "the face is cut off"),
]


def assert_one_line(result, says: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("warning:")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]


def test_render_makes_the_video_and_says_so(inputs, outputs):
    out = outputs / "out.mp4"
    result = moda("render", PORTRAIT, inputs / "motion.npz", "--audio", inputs / "voice.wav", "-o", out, "--size", 256)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{out}: 10 frames, 0.40 s"
    assert len(read_frames(out)) == 10
    assert files(outputs) == {"out.mp4"}


@pytest.mark.parametrize(("make", "says"), BAD_PORTRAITS)
def test_a_bad_portrait_is_one_line(inputs, outputs, make, says):
    portrait = make(inputs)
    assert_one_line(moda("render", portrait, inputs / "motion.npz", "-o", outputs / "out.mp4"), says)
    assert files(outputs) == set()


@pytest.mark.parametrize(("make", "says"), BAD_SOUND)
def test_bad_sound_is_one_line(inputs, outputs, make, says):
    sound = make(inputs)
    result = moda("render", PORTRAIT, inputs / "motion.npz", "--audio", sound, "-o", outputs / "out.mp4")
    assert_one_line(result, says)
    assert files(outputs) == set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "{outputs}/nowhere/out.mp4"], "does not exist"),
        (["-o", "{outputs}"], "is a folder"),
        (["-o", "{outputs}/out.avi"], "does not end in .mp4"),
        (["-o", "{outputs}/out.mp4", "--size", "333"], "frame size 333"),
        (["-o", "{outputs}/out.mp4", "--frame", "full", "--size", "512"], "leave out --size"),
        (["-o", "{outputs}/out.mp4", "--face", "2"], "there is no face 2"),
    ],
)
def test_a_bad_option_is_one_line(inputs, outputs, words, says):
    words = [word.format(outputs=outputs) for word in words]
    assert_one_line(moda("render", PORTRAIT, inputs / "motion.npz", *words), says)
    assert files(outputs) == set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seed", f"{10**22}"], "any whole number in there is a seed"),
        (["--guidance", "inf"], "guidance inf is outside 0..20"),
        (["--emotion-guidance", "1e308"], "emotion_guidance 1e+308 is outside 0..20"),
        (["--guidance", "nan"], "guidance nan is outside 0..20"),
        (["--steps", "0"], "steps 0 is outside 1..100"),
        (["--steps", f"{10**9}"], "steps 1000000000 is outside 1..100"),
        (["--face", "1001"], "face 1001 is outside 1..1000"),
        (["--emotion", "0:neutral," * 2000], "give 10000 at most"),
        (["--size", "333"], "frame size 333"),
        (["--emotion", "joy"], "there is no emotion 'joy'"),
        (["--emotion", "happiness:2"], "not a number from 0 to 1"),
        (["--device", "quantum"], "there is no device 'quantum'"),
        (["--save-motion", "{outputs}/nowhere/m.npz"], "does not exist"),
        (["--save-motion", "{outputs}/m.txt"], "does not end in .npz"),
    ],
)
def test_talk_refuses_a_bad_option(inputs, outputs, words, says):
    words = [word.format(outputs=outputs) for word in words]
    assert_one_line(moda("talk", PORTRAIT, inputs / "voice.wav", "-o", outputs / "out.mp4", *words), says)
    assert files(outputs) == set()


@pytest.mark.parametrize(
    ("video", "says"),
    [
        (lambda folder: folder / "nothing.mp4", "there is no file"),
        (lambda folder: folder / "voice.wav", "has no picture in it"),
        (lambda folder: write_video(folder / "black.mp4"), "no face was found in black.mp4"),
    ],
)
def test_drive_refuses_a_bad_video(inputs, outputs, video, says):
    assert_one_line(moda("drive", PORTRAIT, video(inputs), "-o", outputs / "out.mp4"), says)
    assert files(outputs) == set()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["talk"],
        ["talk", PORTRAIT],
        ["render", PORTRAIT, "m.npz"],
        ["talk", "--frame", "round"],
        ["talk", "--background", "moving"],
        ["app", "--concurrency", "1000000"],
        ["batch", "jobs.csv", "-o", "out", "--workers", "1000000"],
        ["evaluate", "set", "--samples", "1000000000"],
        ["evaluate", "set", "--noise", "nan"],
        ["train", "motion", "set", "-o", "m.safetensors", "--steps", "1000000000000"],
        ["train", "speech", "-o", "folder", "--minutes", "nan"],
    ],
)
def test_a_bad_command_line_is_explained(words):
    result = moda(*words)
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_whoever_listens_may_leave():
    """As in ``moda talk --help | head``: no fault of anybody's."""
    command = [sys.executable, "-m", "pipelines.cli", "talk", "--help"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    for _ in range(12):  # the rest is written, panel by panel, to nobody
        process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()


def test_faces_are_listed(inputs):
    result = moda("faces", two_faces(inputs))
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.strip(" │").startswith(("1", "2"))]
    assert len(rows) == 2
    assert all("good" in row for row in rows)
    assert "the face is too small" in moda("faces", small_face(inputs)).stdout
    assert_one_line(moda("faces", no_face(inputs)), "no face was found")


def test_a_chosen_face_is_taken(inputs, outputs):
    result = moda("render", two_faces(inputs), inputs / "motion.npz", "-o", outputs / "out.mp4", "--face", 2)
    assert result.exit_code == 0, result.output
    assert read_frames(outputs / "out.mp4")[0].shape == (512, 1024, 3)  # the whole picture


def test_a_fault_of_ours_is_one_line_too(inputs, outputs, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("pipelines.render.load_motion", broken)
    command = ["render", PORTRAIT, inputs / "motion.npz", "-o", outputs / "out.mp4"]
    assert_one_line(moda(*command), "moda --debug")
    assert isinstance(moda("--debug", *command).exception, ZeroDivisionError)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_no_half_file(inputs, outputs, sign):
    save_motion(inputs / "long.npz", still(20_000))
    words = ["render", PORTRAIT, inputs / "long.npz", "-o", outputs / "out.mp4"]
    command = [sys.executable, "-m", "pipelines.cli", *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits it ignored
    )  # fmt: skip
    while not any((outputs / name).stat().st_size for name in files(outputs)):  # filming has begun
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(sign)
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert files(outputs) == set()


def test_talk_names_its_video_and_replaces_nothing(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{PORTRAIT.stem}_voice.mp4").write_text("mine")
    given: list[Path] = []
    monkeypatch.setattr("pipelines.talk.TalkingHead.__init__", lambda self, *words: None)
    monkeypatch.setattr(
        "pipelines.talk.TalkingHead.talk", lambda self, p, a, out, options: (step for step in given.append(out) or ())
    )
    result = moda("talk", PORTRAIT, inputs / "voice.wav")
    assert result.exit_code == 0 and given == [Path(f"{PORTRAIT.stem}_voice-2.mp4")]
    assert f"the video will be {given[0]}" in result.stderr and f"{given[0]}: " in result.stdout
    assert (tmp_path / f"{PORTRAIT.stem}_voice.mp4").read_text() == "mine"
    assert len(os.fsencode(free_output(f"{'𝄞' * 50}.jpg", f"{'𝄞' * 50}.wav"))) <= 255


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_is_one_line(inputs, outputs):
    os.mkfifo(inputs / "pipe")
    for words in ((PORTRAIT, inputs / "pipe"), (inputs / "pipe", inputs / "voice.wav")):
        assert_one_line(moda("talk", *words, "-o", outputs / "out.mp4"), "is a pipe or a device")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the current folder cannot be deleted")
def test_a_folder_that_is_gone_is_one_line(tmp_path):
    code = "import os, sys; os.rmdir(os.getcwd()); from pipelines.cli.main import main; main()"
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=where, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (
        1,
        "error: the current folder is gone or closed to you; change to another one\n",
    )


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    where = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    code = "import sys; from pipelines.cli.main import main; sys.argv = ['moda', 'faces', 'Andr\\udce9 é.jpg']; main()"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=where, capture_output=True, text=True)
    assert found.stderr == "error: there is no file Andr\\udce9 \\xe9.jpg; check the path\n"


def test_a_user_without_a_home_has_a_key_for_the_moment(monkeypatch):
    def homeless(name: str) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr("pipelines.film.credentials.user_data_path", homeless)
    monkeypatch.setattr("pipelines.weights.store.user_cache_path", homeless)
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    assert signing_credential() is signing_credential() and "no home folder" in str(signing_credential())
    assert_one_line(moda("weights", "list"), "set MODA_WEIGHTS to a folder")
