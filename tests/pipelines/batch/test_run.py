"""A batch: what it makes, what it leaves behind, and how it goes on after a kill. Stand-ins do the work."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipelines.batch.run
import pipelines.crews.crews
import pipelines.crews.worker
from encoders.audio.media import load_audio
from encoders.face.portrait import encode_face
from moda.files import sha256
from pipelines.batch.manifest import ManifestError, Plan, cross, read_manifest
from pipelines.batch.report import Entry, Report, ReportError
from pipelines.batch.run import _Queue, run_batch
from pipelines.cli.main import app
from pipelines.crews.crews import Died, Processes, Ready, WorkerError
from pipelines.crews.worker import Cache, Outcome, Task, Worker
from pipelines.options import TalkOptions
from pipelines.talk import TalkingHead
from tests.media_support import PORTRAIT, files, write_wav
from tests.pipelines.batch.batch_support import Lame, Refuser, Scribe

EMOTIONS = ("neutral", "fear")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "x.wav", "y.wav", "bad.wav", "once.wav", "deadly.wav", "slow.wav"):
        (tmp_path / name).write_text(name)
    return tmp_path


def plan_of(folder: Path, *rows: str, columns: str = "portrait,audio,output,emotion,save_motion") -> Plan:
    (folder / "jobs.csv").write_text("\n".join([columns, *rows]) + "\n")
    return read_manifest(folder / "jobs.csv")


def sweep(folder: Path) -> Plan:
    rows = [f"{p}.jpg,{a}.wav,{p}{a}-{e}.mp4,{e}," for e in EMOTIONS for a in "xy" for p in "ab"]
    return plan_of(folder, *rows)


def made(plan: Plan, out: Path, workers: int = 1, **options) -> list[Entry]:
    """Run a batch of stand-ins to its end: the entries that are new."""
    steps = run_batch(plan, out, Processes(workers, worker=Scribe), **options)
    return [step.entry for step in steps if step.entry and not step.known]


def log(folder: Path) -> list[list[str]]:
    """What stand-ins made: process, portrait, voice, emotion."""
    file = folder / "log"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def reported(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]


def test_every_row_is_made_or_reported_and_nothing_else_is_left(folder):
    out = folder / "videos"
    rows = ["a.jpg,x.wav,1.mp4,fear,", "a.jpg,bad.wav,2.mp4,,", "a.jpg,y.wav,deep/er/3.mp4,,deep/3.npz"]
    steps = list(run_batch(plan_of(folder, *rows), out, Processes(1, worker=Scribe)))
    assert [step.done for step in steps if step.entry] == [1, 2, 3] and {step.jobs for step in steps} == {3}
    assert any(step.done % 1 for step in steps)  # the share of a job under way
    assert files(out) == {"1.mp4", "deep", "report.jsonl"}
    assert files(out / "deep") == {"er", "3.npz"} and files(out / "deep" / "er") == {"3.mp4"}
    assert (out / "1.mp4").read_text() == "a.jpg x.wav fear"
    first, bad, third = (next(row for row in reported(out) if row["line"] == line) for line in (2, 3, 4))
    assert (first["status"], first["frames"], first["error"], first["attempts"]) == ("done", 8, "", 1)
    assert first["hashes"] == {"1.mp4": sha256(out / "1.mp4")} and first["warnings"] == ["small"]
    assert first["settings"]["emotion"] == "fear" and first["settings"]["seed"] == 0
    assert (bad["status"], bad["error"], bad["hashes"]) == ("error", "the recording is bad", {})
    assert third["hashes"].keys() == {"deep/er/3.mp4", "deep/3.npz"}


def test_rows_that_share_a_portrait_and_a_voice_meet(folder):
    queue = _Queue(sweep(folder).jobs)
    taken = [queue.take(seat) for seat in (0, 1) * 4]
    assert [job.portrait.stem for job in taken] == ["a", "b"] * 4
    for seat in (0, 1):
        assert [job.audio.stem for job in taken[seat::2]] == ["x", "x", "y", "y"]
    assert not queue


def test_a_worker_without_work_of_its_own_helps_the_others(folder):
    queue = _Queue(plan_of(folder, *(f"{face}.jpg,x.wav,{n}.mp4,," for n, face in enumerate("abaaa"))).jobs)
    assert [queue.take(seat).portrait.stem for seat in (0, 1, 1)] == ["a", "b", "a"]
    queue.put_back(job := queue.take(0))
    assert queue.take(1) is job


def test_several_workers_make_what_one_makes(folder):
    for workers in (1, 2, 9):
        assert len(made(sweep(folder), folder / str(workers), workers)) == 8
        assert all(
            (folder / str(workers) / f).read_bytes() == (folder / "1" / f).read_bytes()
            for f in files(folder / "1") - {"report.jsonl"}
        )


def test_what_is_made_is_not_made_again(folder):
    out = folder / "videos"
    assert len(made(sweep(folder), out)) == 8
    before = (out / "report.jsonl").read_bytes()
    steps = list(run_batch(sweep(folder), out, Processes(1, worker=Lame)))  # it would not even begin
    assert [step.known for step in steps] == [True] * 8 and steps[-1].done == 8
    assert (out / "report.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda folder: (folder / "a.jpg").write_text("new"), ["ax-fear", "ax-neutral", "ay-fear", "ay-neutral"]),
        (lambda folder: (folder / "videos" / "ax-fear.mp4").unlink(), ["ax-fear"]),
        (lambda folder: (folder / "videos" / "ax-fear.mp4").write_text("cut short"), ["ax-fear"]),
    ],
)  # fmt: skip
def test_what_has_changed_is_made_again(folder, change, again):
    out = folder / "videos"
    made(sweep(folder), out)
    change(folder)
    assert sorted(entry.output for entry in made(sweep(folder), out)) == [f"{name}.mp4" for name in again]
    assert len(reported(out)) == 8 and len(files(out)) == 9


def test_other_settings_and_models_are_made_again(folder, monkeypatch):
    out = folder / "videos"
    rows = ["a.jpg,x.wav,1.mp4,,", "a.jpg,y.wav,2.mp4,,2.npz"]
    made(plan_of(folder, *rows), out)
    rows[0] = "a.jpg,x.wav,1.mp4,fear,"
    assert [entry.output for entry in made(plan_of(folder, *rows), out)] == ["1.mp4"]
    rows[1] = "a.jpg,y.wav,2.mp4,,other.npz"
    assert [entry.output for entry in made(plan_of(folder, *rows), out)] == ["2.mp4"]
    assert files(out) == {"1.mp4", "2.mp4", "other.npz", "report.jsonl"}
    monkeypatch.setattr("pipelines.batch.run._software", lambda weights: ("2.0",))
    assert len(made(plan_of(folder, *rows), out)) == 2


def test_an_error_is_tried_again_and_takes_the_old_video_along(folder):
    out = folder / "videos"
    made(plan_of(folder, "a.jpg,x.wav,1.mp4,,"), out)
    for _ in range(2):
        assert [entry.error for entry in made(plan_of(folder, "a.jpg,bad.wav,1.mp4,,"), out)] == [
            "the recording is bad"
        ]
        assert files(out) == {"report.jsonl"} and len(reported(out)) == 1
    assert [entry.status for entry in made(plan_of(folder, "a.jpg,x.wav,1.mp4,,"), out)] == ["done"]


def test_a_worker_that_dies_costs_one_retry(folder):
    out = folder / "videos"
    rows = [f"a.jpg,{voice}.wav,{voice}.mp4,," for voice in ("once", "deadly", "x")]
    entries = {entry.output: entry for entry in made(plan_of(folder, *rows), out)}
    assert (entries["once.mp4"].status, entries["once.mp4"].attempts) == ("done", 2)
    assert (entries["x.mp4"].status, entries["x.mp4"].attempts) == ("done", 1)
    assert "died of it, 2 times (SIGKILL)" in entries["deadly.mp4"].error
    assert files(out) == {"once.mp4", "x.mp4", "report.jsonl"}


def test_a_worker_that_dies_idle_is_replaced():
    crew = Processes(1, worker=Scribe)
    heard: list[object] = []
    try:
        crew.start(1)
        while len(heard) < 3:
            heard += [message for _, message in crew.wait()]
            if len(heard) == 1:
                os.kill(crew._seats[0].process.pid or 0, signal.SIGKILL)
        assert heard == [Ready(), Died("SIGKILL"), Ready()]
    finally:
        crew.close()


def test_workers_that_cannot_begin_end_the_batch(folder):
    with pytest.raises(WorkerError, match="3 workers ended before they were ready"):
        list(run_batch(sweep(folder), folder / "videos", Processes(2, worker=Lame)))
    assert files(folder / "videos") == set()


def test_why_a_worker_cannot_begin_is_said(folder):
    with pytest.raises(WorkerError, match="there is no device 'quantum'"):
        list(run_batch(sweep(folder), folder / "videos", Processes(2, "quantum", Refuser)))


def test_two_batches_do_not_share_a_folder(folder):
    out = folder / "videos"
    first = run_batch(sweep(folder), out, Processes(1, worker=Scribe))
    next(first)
    with pytest.raises(ReportError, match="another batch is at work"):
        next(run_batch(sweep(folder), out, Processes(1, worker=Scribe)))
    assert len([step for step in first if step.entry]) in (7, 8)  # the first step was a share or an entry
    assert len(files(out)) == 9


def test_closing_stops_at_once_and_leaves_what_is_whole(folder):
    out = folder / "videos"
    plan = plan_of(folder, "a.jpg,x.wav,1.mp4,,", "a.jpg,slow.wav,2.mp4,,", "a.jpg,y.wav,3.mp4,,")
    steps = run_batch(plan, out, Processes(1, worker=Scribe))
    for step in steps:
        if step.done == 1.5:  # the slow one has begun
            break
    steps.close()
    assert files(out) == {"1.mp4", "report.jsonl"}
    assert [row["output"] for row in reported(out)] == ["1.mp4"]


class Killed(BaseException):
    """Stands for a kill: nothing is cleaned up."""


@pytest.fixture
def killed(folder, monkeypatch) -> Iterator[Path]:
    """The output folder of a batch; what is patched in it raises Killed, and then nothing is cleared away."""
    monkeypatch.setattr(Report, "__exit__", lambda self, *_: self._lock.release())
    yield folder / "videos"


@pytest.mark.parametrize("moment", ["before the names", "between the names", "before the line", "after the line"])
def test_a_kill_at_any_moment_of_publishing_loses_nothing(folder, killed, monkeypatch, moment):
    plan = plan_of(folder, "a.jpg,x.wav,1.mp4,,1.npz", "a.jpg,y.wav,2.mp4,,")
    with monkeypatch.context() as patch:
        if moment == "before the names":
            patch.setattr(Report, "_move", _kill)
        elif moment == "between the names":
            move = Report._move
            patch.setattr(Report, "_move", lambda self, parts: (move(self, list(parts)[:1]), _kill()))
        elif moment == "before the line":
            patch.setattr(Report, "add", _kill)
        else:
            add = Report.add
            patch.setattr(Report, "add", lambda self, entry: (add(self, entry), _kill()))
        with pytest.raises(Killed):
            made(plan, killed)
    monkeypatch.undo()
    assert any(name.startswith(".batch-") for name in files(killed))
    assert [entry.output for entry in made(plan, killed)] == ["2.mp4"]
    assert files(killed) == {"1.mp4", "1.npz", "2.mp4", "report.jsonl"}
    assert [row["output"] for row in reported(killed)] == ["1.mp4", "2.mp4"]
    assert len(log(folder)) == 2


def _kill(*_: object) -> None:
    raise Killed


def test_half_files_and_half_lines_of_a_killed_batch_go(folder):
    out = folder / "videos"
    made(plan_of(folder, "a.jpg,x.wav,1.mp4,,"), out)
    leftover = out / ".batch-01234567"
    leftover.mkdir()
    (leftover / ".7.mp4.0.part").write_text("half a video")
    (leftover / "7.mp4").write_text("a video without an entry")
    (leftover / "8.json").write_text('{"entry": "{\\"status')
    with (out / "report.jsonl").open("a") as file:
        file.write('{"status": "done", "outp')
    assert made(plan_of(folder, "a.jpg,x.wav,1.mp4,,"), out) == []
    assert files(out) == {"1.mp4", "report.jsonl"} and len(reported(out)) == 1


FOREIGN = [
    "no JSON", "{}", "[" * 100_000, '{"status": "late"}',
    *(f'{{"status": "done", {odd}}}' for odd in (
        '"hashes": {"../a.mp4": ""}', '"hashes": 5', '"hashes": null', '"hashes": {"a": 1}', '"output": {"a": 1}',
        '"line": true', '"key": []', '"output": "a\\u0000.mp4"', '"warnings": [1]',
    )),
]  # fmt: skip


@pytest.mark.parametrize("line", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_report_is_left_alone(folder, line):
    out = folder / "videos"
    out.mkdir()
    (out / "report.jsonl").write_text(f"{line}\n\n")
    with pytest.raises(ReportError, match=r"report.jsonl, line 1: not of a batch"):
        made(sweep(folder), out)
    assert files(out) == {"report.jsonl"}


def test_files_that_no_batch_made_are_never_replaced(folder):
    out = folder / "videos"
    (out / "folder.mp4").mkdir(parents=True)
    (out / "mine.mp4").write_text("mine")
    (out / "x.mp4").write_text("a recording")
    rows = [
        "a.jpg,x.wav,mine.mp4,,",
        "a.jpg,x.wav,mine.mp4/1.mp4,,",
        "a.jpg,x.wav,folder.mp4,,",
        "a.jpg,videos/x.mp4,x.mp4,,",
    ]
    with pytest.raises(ManifestError) as raised:
        made(plan_of(folder, *rows, "a.jpg,x.wav,good.mp4,,"), out)
    says = ["is there already", "is a file", "is there already", "is one of the files given"]
    assert [fault.line for fault in raised.value.faults] == [2, 3, 4, 5]
    assert all(word in fault.text for word, fault in zip(says, raised.value.faults, strict=True))
    assert files(out) == {"folder.mp4", "mine.mp4", "x.mp4"}
    assert (out / "mine.mp4").read_text() == "mine" and log(folder) == []


def test_nothing_begins_with_a_fault_unless_it_is_to_be_skipped(folder):
    out = folder / "videos"
    rows = ["a.jpg,x.wav,1.mp4,joy,", "a.jpg,nothing.wav,2.mp4,,", "a.jpg,y.wav,3.mp4,,"]
    with pytest.raises(ManifestError, match=r"line 2: .*joy.*; jobs.csv, line 3: .*nothing.wav"):
        made(plan_of(folder, *rows), out)
    assert not out.exists() and log(folder) == []
    for _ in range(2):
        made(plan_of(folder, *rows), out, skip_bad=True)
        assert files(out) == {"3.mp4", "report.jsonl"}
        assert sorted((row["line"], row["status"]) for row in reported(out)) == [
            (2, "error"),
            (3, "error"),
            (4, "done"),
        ]
    made(plan_of(folder, "a.jpg,x.wav,1.mp4,fear,", *rows[2:]), out)  # the manifest is mended
    assert [row["status"] for row in reported(out)] == ["done", "done"]


def test_a_cache_keeps_what_was_used_last():
    cache: Cache[str] = Cache(10)
    made: list[str] = []

    def get(key: str, size: int) -> str:
        return cache.get(key, lambda: made.append(key) or key, lambda _: size)

    for key, size in (
        ("a", 4),
        ("b", 4),
        ("a", 4),
        ("c", 4),
        ("a", 4),
        ("b", 4),
        ("large", 99),
        ("large", 99),
        ("a", 4),
    ):
        assert get(key, size) == key
    assert made == ["a", "b", "c", "b", "large", "a"]


# ---- the real worker


def test_a_byte_of_a_report_that_is_no_text_costs_nothing(folder):
    out = folder / "videos"
    assert len(made(plan_of(folder, "a.jpg,x.wav,1.mp4,fear,"), out)) == 1
    text = (out / "report.jsonl").read_bytes()
    (out / "report.jsonl").write_bytes(text.replace(b"small", b"sm\xffll"))
    assert made(plan_of(folder, "a.jpg,x.wav,1.mp4,fear,"), out) == []
    assert reported(out)[0]["warnings"] == ["sm\ufffdll"]


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="names are not bytes here")
def test_names_that_are_no_text_are_made_and_reported(folder):
    portraits, voices = folder / "faces", folder / "voices"
    portraits.mkdir(), voices.mkdir()
    try:
        (folder / "a.jpg").rename(portraits / "Andr\udce9.jpg")
    except OSError as error:
        pytest.skip(f"this file system takes text only ({error.strerror})")
    (folder / "x.wav").rename(voices / "x.wav")
    out = folder / "videos"
    assert [entry.status for entry in made(cross(portraits, voices), out)] == ["done"]
    assert made(cross(portraits, voices), out) == []
    (row,) = reported(out)
    assert row["portrait"].endswith("Andr\udce9.jpg") and row["output"].startswith("Andr_x_neutral_")


def test_a_link_that_leads_nowhere_is_no_video_of_a_batch(folder):
    out = folder / "videos"
    out.mkdir()
    (out / "1.mp4").symlink_to("nowhere.mp4")
    with pytest.raises(ManifestError, match="is there already"):
        made(plan_of(folder, "a.jpg,x.wav,1.mp4,,"), out)
    assert (out / "1.mp4").is_symlink()


def test_messages_name_columns_and_not_options(folder, monkeypatch):
    said = "the picture shows 2 faces; choose one with --face N: 1 at (1, 2)"
    job = plan_of(folder, "a.jpg,x.wav,1.mp4,,").jobs[0]
    with Report(folder / "videos") as report:
        run = pipelines.batch.run._Run(Plan("jobs.csv", (job,)), report, [], Processes())
        assert run._entry(job, Outcome(error=said)).error == said.replace("--face N", "the column face")
        assert run._entry(job, Outcome(error="see --debug")).error == "see --debug"


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """Eight frames."""
    return write_wav(
        tmp_path_factory.mktemp("speech") / "voice.wav", load_audio(PORTRAIT.with_name("voice_en.wav"))[16_000:21_120]
    )


def test_what_a_worker_keeps_changes_no_byte(tmp_path, speech, monkeypatch):
    looked: list[Path] = []
    encode = encode_face
    monkeypatch.setattr("encoders.face.encode_face", lambda path, face: looked.append(path) or encode(path, face=face))
    worker = Worker("cpu")
    options = [{"emotion": emotion, "size": 256, "provenance": False} for emotion in ("anger", "neutral", "anger")]
    options += [{"provenance": False}]  # the full frame is prepared anew
    outcomes = [
        worker.run(Task(str(PORTRAIT), str(speech), str(tmp_path / f"{n}.mp4"), each)) for n, each in enumerate(options)
    ]
    assert [(outcome.error, outcome.frames) for outcome in outcomes] == [("", 8)] * 4
    assert len(looked) == 1
    head = TalkingHead("cpu")
    for number, each in enumerate(options[1:], 1):
        alone = head.make(PORTRAIT, speech, tmp_path / "alone.mp4", TalkOptions(**each))
        assert outcomes[number].hashes == (sha256(alone),)
    bad = worker.run(Task(str(speech), str(speech), str(tmp_path / "bad.mp4"), {}))
    assert "is not a picture" in bad.error and not (tmp_path / "bad.mp4").exists()
    monkeypatch.setattr(pipelines.crews.worker, "LONG", 0.1)  # it is then given to talk by its name
    worker._voices = Cache(0)
    unkept = worker.run(Task(str(PORTRAIT), str(speech), str(tmp_path / "unkept.mp4"), options[1]))
    assert unkept.hashes == outcomes[1].hashes


# ---- the command line


def moda(*words: object):
    return CliRunner().invoke(app, ["batch", *map(str, words)], env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def scribes(monkeypatch):
    monkeypatch.setattr("pipelines.crews.Processes", partial(Processes, worker=Scribe))


def test_the_command_says_what_it_made(folder, scribes):
    plan_of(folder, "a.jpg,x.wav,1.mp4,,", "a.jpg,bad.wav,2.mp4,,", "a.jpg,x.wav,3.mp4,joy,")
    result = moda(folder / "jobs.csv", "-o", folder / "videos", "--skip-bad", "--set", "seed=3", "--workers", 2)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{folder / 'videos'}: 1 made, 2 failed, ")
    said = set(result.stderr.splitlines())
    assert said >= {
        "error: line 3, 2.mp4: the recording is bad", "warning: 1.mp4: small", "1.mp4: 8 frames in 0.0 s",
    }  # fmt: skip
    assert any(line.startswith("error: line 4: there is no emotion 'joy'") for line in said)
    assert next(row for row in reported(folder / "videos") if row["output"] == "1.mp4")["settings"]["seed"] == 3
    plan_of(folder, "a.jpg,x.wav,1.mp4", columns="portrait,audio,output")
    again = moda(folder / "jobs.csv", "-o", folder / "videos", "--set", "seed=3")
    assert again.exit_code == 0 and "0 made, 1 there already, " in again.stdout


def test_programs_read_lines(folder, scribes):
    plan_of(folder, "a.jpg,x.wav,1.mp4,,", "a.jpg,bad.wav,2.mp4,,")
    result = moda(folder / "jobs.csv", "-o", folder / "videos", "--json")
    *jobs, end = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(job["event"], job["output"], job["status"], job["known"]) for job in jobs] == [
        ("job", "1.mp4", "done", False), ("job", "2.mp4", "error", False),
    ]  # fmt: skip
    assert (end["event"], end["made"], end["kept"], end["error"]) == ("end", 1, 0, 1)
    assert result.exit_code == 1 and result.stderr == ""


def test_the_command_crosses_folders(folder, scribes):
    for name in ("faces", "voices"):
        (folder / name).mkdir()
    (folder / "a.jpg").rename(folder / "faces/a.jpg")
    (folder / "x.wav").rename(folder / "voices/x.wav")
    words = ["--cross", folder / "faces", folder / "voices", "--emotions", "neutral, fear:0.5"]
    assert moda(*words, "-o", folder / "videos").exit_code == 0
    assert sorted(name.rpartition("_")[0] for name in files(folder / "videos")) == ["", "a_x_fear-0.5", "a_x_neutral"]


def test_faults_of_a_manifest_are_lines_of_their_own(folder):
    plan_of(folder, "a.jpg,x.wav,1.mp4,joy,", "nobody.jpg,x.wav,2.mp4,,")
    result = moda(folder / "jobs.csv", "-o", folder / "videos")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("error: jobs.csv, line 2: there is no emotion 'joy'")
    assert second.startswith("error: jobs.csv, line 3: portrait ") and "nobody.jpg is not a file" in second
    assert not (folder / "videos").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--output"),
        (["-o", "out"], "either a MANIFEST or --cross"),
        (["jobs.csv", "-o", "out", "--cross", "a", "b"], "either a MANIFEST or --cross"),
        (["jobs.csv", "-o", "out", "--emotions", "fear"], "--emotions goes with --cross"),
        (["jobs.csv", "-o", "out", "--set", "seed"], "write NAME=VALUE"),
    ],
)
def test_a_bad_command_line_is_explained(words, says):
    result = moda(*words)
    assert result.exit_code == 2 and says in result.output


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (["--ray"], "local"),
        (["--ray", "--json"], "local"),
        (["--ray", "auto"], "auto"),
        (["--ray", "head:6379"], "head:6379"),
    ],
)
def test_the_address_of_ray_may_be_left_out(folder, monkeypatch, words, address):
    asked = []

    def crew(*given):
        asked.append(given)
        return Processes(1, worker=Scribe)

    monkeypatch.setattr("pipelines.crews.RayActors", crew)
    plan_of(folder, "a.jpg,x.wav,1.mp4,,")
    result = moda("-o", folder / "videos", "--workers", 3, *words, folder / "jobs.csv")
    assert result.exit_code == 0, result.output
    assert asked == [(3, "auto", address)]


def test_without_ray_one_line_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    plan_of(folder, "a.jpg,x.wav,1.mp4,,")
    result = moda(folder / "jobs.csv", "-o", folder / "videos", "--ray")
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: Ray is not installed: pip install 'moda[ray]', or leave out --ray"
    assert files(folder / "videos") == set()
