"""Batches with the real models, as people run them: killed, interrupted, on Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from contracts import SAMPLES_PER_FRAME
from encoders.audio.media import load_audio
from pipelines.batch.manifest import read_manifest
from pipelines.batch.run import run_batch
from pipelines.crews.crews import RayActors, WorkerError
from tests.media_support import PORTRAIT, files, read_frames, tone, write_wav
from tests.pipelines.batch.batch_support import Lame, Scribe

ROOT = Path(__file__).parents[3]
HEADER = "portrait,audio,output,emotion,seed\n"
FRAMES = (8, 9, 10)
BROKEN = (
    "a.jpg,v8.wav,broken0.mp4,joy,0",  # three that show before anything is decoded
    "a.jpg,nothing.wav,broken1.mp4,,0",
    "a.jpg,v8.wav,broken2.mp4,,many",
    "grey.png,v8.wav,broken3.mp4,,0",  # and three that show afterwards
    "text.png,v8.wav,broken4.mp4,,0",
    "a.jpg,silence.wav,broken5.mp4,,0",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two portraits, three voices of 8 to 10 frames, and what is neither."""
    Image.open(PORTRAIT).save(tmp_path / "a.jpg", quality=95)
    ImageOps.mirror(Image.open(PORTRAIT)).save(tmp_path / "b.jpg", quality=95)
    speech = load_audio(PORTRAIT.with_name("voice_en.wav"))[16_000:]
    for frames in FRAMES:
        write_wav(tmp_path / f"v{frames}.wav", speech[: frames * SAMPLES_PER_FRAME])
    write_wav(tmp_path / "silence.wav", 0 * tone(0.4, 16_000))
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "grey.png")
    (tmp_path / "text.png").write_text("this is no picture")
    return tmp_path


def command(folder: Path, out: str, *words: object) -> subprocess.Popen[str]:
    """``moda batch`` as a process group of its own, so that a signal reaches it as from a terminal."""
    given = ["batch", folder / "jobs.csv", "-o", folder / out, "--json", "--set", "size=256", "--set", "provenance=no"]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *map(str, given + list(words))], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits it ignored
    )  # fmt: skip


def events(process: subprocess.Popen[str], count: int) -> list[dict]:
    """The next jobs that were made or failed, ``count`` of them."""
    assert process.stdout is not None
    found: list[dict] = []
    while len(found) < count:
        line = process.stdout.readline()
        assert line, process.communicate()
        found += [event] if not (event := json.loads(line)).get("known", True) else []
    return found


def rest(process: subprocess.Popen[str]) -> list[dict]:
    out, said = process.communicate()
    assert "Traceback" not in said, said
    return [json.loads(line) for line in out.splitlines()]


def jobs() -> list[str]:
    """54 rows, no two alike."""
    rows = [(p, f, e, s) for p in "ab" for f in FRAMES for e in ("neutral", "fear:0.6", "happiness") for s in range(3)]
    return [f"{p}.jpg,v{f}.wav,{p}{f}-{e[:4]}-{s}.mp4,{e},{s}" for p, f, e, s in rows]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_sixty_jobs_survive_two_kills(folder):
    chance = np.random.default_rng(60)
    rows = [str(row) for row in chance.permutation([*jobs(), *BROKEN])]
    (folder / "jobs.csv").write_text(HEADER + "\n".join(rows) + "\n")
    out = folder / "videos"
    made: Counter[str] = Counter()
    kept: dict[str, int] = {}  # videos of a line of the report, when they were made
    for _ in range(2):
        process = command(folder, "videos", "--workers", 2, "--skip-bad")
        told = events(process, int(chance.integers(8, 20)))
        time.sleep(chance.uniform(0, 0.5))
        process.kill()  # the workers are left to themselves
        told += [event for event in rest(process) if not event.get("known", True)]
        made.update(event["output"] for event in told if event["status"] == "done")
        assert all((out / name).stat().st_mtime_ns == when for name, when in kept.items())
        report = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
        kept = {row["output"]: (out / row["output"]).stat().st_mtime_ns for row in report if row["status"] == "done"}
        assert set(made) <= set(kept)
    process = command(folder, "videos", "--workers", 2, "--skip-bad")
    *told, end = rest(process)
    assert process.returncode == 1
    assert (end["made"] + end["kept"], end["error"]) == (54, 6) and end["kept"] >= len(kept) > 10
    made.update(event["output"] for event in told if event["status"] == "done" and not event["known"])
    assert set(made.values()) == {1}
    assert {event["output"] for event in told if event["status"] == "done"} == {row.split(",")[2] for row in jobs()}
    assert files(out) == {row.split(",")[2] for row in jobs()} | {"report.jsonl"}
    for name, when in kept.items():
        assert (out / name).stat().st_mtime_ns == when
    for row in jobs():
        _, voice, name, *_ = row.split(",")
        assert len(read_frames(out / name)) == int(voice[1:-4])
    report = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    assert Counter(row["status"] for row in report) == {"done": 54, "error": 6}
    errors = {rows[row["line"] - 2]: row["error"] for row in report if row["status"] == "error"}
    says = ("no emotion 'joy'", "is not a file", "not a whole number", "no face was found", "not a picture", "silent")
    assert all(word in errors[row] for word, row in zip(says, BROKEN, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_an_interrupt_leaves_what_is_whole(folder):
    (folder / "jobs.csv").write_text(HEADER + "\n".join(jobs()) + "\n")
    process = command(folder, "videos", "--workers", 2)
    events(process, 3)
    os.killpg(process.pid, signal.SIGINT)
    rest(process)
    assert process.returncode == 130
    report = [json.loads(line) for line in (folder / "videos" / "report.jsonl").read_text().splitlines()]
    assert 3 <= len(report) < 54
    assert files(folder / "videos") == {row["output"] for row in report} | {"report.jsonl"}


# ---- Ray


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine."""
    module = pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-ray.txt")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    module.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},  # where the stand-ins are
    )  # fmt: skip
    yield module
    module.shutdown()


def test_ray_makes_the_same_bytes(folder):
    pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-ray.txt")
    (folder / "jobs.csv").write_text(HEADER + "\n".join([*jobs()[::5], BROKEN[3]]) + "\n")
    here, there = command(folder, "here"), command(folder, "there", "--ray", "--workers", 2)
    for process in (here, there):
        end = rest(process)[-1]
        assert (end["made"], end["error"]) == (11, 1)
    assert files(folder / "here") == files(folder / "there") and len(files(folder / "here")) == 12
    for name in files(folder / "here") - {"report.jsonl"}:
        assert (folder / "here" / name).read_bytes() == (folder / "there" / name).read_bytes()
    again = rest(command(folder, "there"))[-1]  # what one has made the other knows
    assert (again["made"], again["kept"]) == (0, 11)


def test_an_actor_that_dies_costs_one_retry(folder, ray):
    for name in ("x", "once", "deadly"):
        (folder / f"{name}.wav").write_text(name)
    rows = [f"a.jpg,{name}.wav,{name}.mp4,,0" for name in ("once", "deadly", "x")]
    (folder / "jobs.csv").write_text(HEADER + "\n".join(rows) + "\n")
    steps = list(run_batch(read_manifest(folder / "jobs.csv"), folder / "videos", RayActors(2, worker=Scribe)))
    entries = {step.entry.output: step.entry for step in steps if step.entry}
    assert (entries["once.mp4"].status, entries["once.mp4"].attempts) == ("done", 2)
    assert (entries["x.mp4"].status, entries["x.mp4"].attempts) == ("done", 1)
    assert "died of it, 2 times" in entries["deadly.mp4"].error
    assert files(folder / "videos") == {"once.mp4", "x.mp4", "report.jsonl"}


def test_actors_that_cannot_begin_end_the_batch(folder, ray):
    (folder / "jobs.csv").write_text(f"{HEADER}a.jpg,v8.wav,1.mp4,,0\n")
    plan = read_manifest(folder / "jobs.csv")
    with pytest.raises(WorkerError, match="3 workers ended before they were ready"):
        list(run_batch(plan, folder / "videos", RayActors(1, worker=Lame)))
    with pytest.raises(WorkerError, match="no device 'quantum'"):
        list(run_batch(plan, folder / "videos", RayActors(1, "quantum")))
