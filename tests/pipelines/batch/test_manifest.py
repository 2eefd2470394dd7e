"""What a manifest may hold, and how its faults are told: all at once, by line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pipelines.batch.manifest import COLUMNS, ManifestError, Plan, cross, read_manifest
from pipelines.options import TalkOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faces").mkdir()
    (tmp_path / "voices").mkdir()
    for name in ("faces/anna.jpg", "faces/Bo b.png", "voices/hello.wav", "voices/bye.mp3", "voices/notes.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "head.npz").write_text("a motion")
    return tmp_path


def written(folder: Path, text: str, name: str = "jobs.csv") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def told(plan: Plan) -> list[tuple[int, str]]:
    return [(fault.line, fault.text) for fault in plan.faults]


def test_a_table_and_json_lines_say_the_same(folder):
    table = written(
        folder,
        "\ufeffPortrait, audio,output,emotion,seed,size,mouth,head-motion,provenance,frame,save_motion,head_from\n"
        "faces/anna.jpg,voices/hello.wav,a/1.mp4,happiness:0.8,7,256,1.5,0,no,crop,a/1.npz,head.npz\n\n"
        'faces/anna.jpg,voices/hello.wav,2.mp4,"0:neutral,2.5:fear:0.9",,,,,,,,\n',
    )
    rows = [
        {
            "portrait": "faces/anna.jpg", "audio": "voices/hello.wav", "output": "a/1.mp4", "emotion": "happiness:0.8",
            "seed": 7, "size": "256", "mouth": 1.5, "head_motion": 0, "provenance": False, "frame": "crop",
            "save_motion": "a/1.npz", "head_from": "head.npz",
        },
        {
            "portrait": str(folder / "faces/anna.jpg"), "audio": "voices/hello.wav", "output": "2.mp4",
            "emotion": "0:neutral,2.5:fear:0.9", "seed": None, "frame": "",
        },
    ]  # fmt: skip
    lines = written(folder, "\n".join(json.dumps(row) for row in rows) + "\n", "jobs.jsonl")
    first, second = read_manifest(table), read_manifest(lines)
    assert first.faults == second.faults == ()
    assert [(j.portrait, j.audio, j.output, j.options) for j in first.jobs] == [
        (j.portrait, j.audio, j.output, j.options) for j in second.jobs
    ]
    job, plain = first.jobs
    assert job.options == TalkOptions(
        emotion="happiness:0.8", seed=7, size=256, mouth=1.5, head_motion=0, provenance=False, frame="crop",
        save_motion="a/1.npz", head_from=folder / "head.npz",
    )  # fmt: skip
    assert (job.line, plain.line) == (2, 4) and job.outputs == ("a/1.mp4", "a/1.npz")
    assert plain.options == TalkOptions(emotion="0:neutral,2.5:fear:0.9")


def test_every_fault_is_told_with_its_line(folder):
    good = {"portrait": "faces/anna.jpg", "audio": "voices/hello.wav"}
    faulty = {
        "colour": ("red", "no column 'colour'; known are portrait, audio"),
        "emotoin": ("fear", "did you mean emotion?"),
        "portrait": ("faces/nobody.jpg", "is not a file"),
        "audio": ("voices", "is not a file"),
        "seed": ("1.5", "seed '1.5' is not a whole number"),
        "mouth": ("wide", "mouth 'wide' is not a number"),
        "mark": ("maybe", "mark 'maybe' is not true or false"),
        "blink_rate": (3, "outside 0..2"),
        "steps": (0, "steps 0 is outside 1..100"),
        "frame": ("round", "no --frame round"),
        "size": (333, "frame size 333"),
        "emotion": ("joy", "no emotion 'joy'"),
        "face": ([1], "no single value"),
        "head_from": ("nothing.npz", "is not a file"),
        "output": ("../a.mp4", "no name within the output folder"),
        "save_motion": ("a.mp4", "does not end in .npz"),
    }
    rows = [{**good, column: value} for column, (value, _) in faulty.items()]
    rows += [{"audio": good["audio"]}, {**good, "seed": "x", "mouth": "y", "steps": 0}]
    rows += [
        {**good, "output": name} for name in ("a.avi", "/a.mp4", ".a.mp4", "b/.c/a.mp4", "a\n.mp4", f"{'x' * 300}.mp4")
    ]
    text = "\n".join([*(json.dumps(row) for row in rows), "{not json", "[1]", json.dumps(good)])
    plan = read_manifest(written(folder, text))
    says = [*(text for _, text in faulty.values()), "there is no portrait", "seed 'x'", "mouth 'y'", "steps 0"]
    says += ["name it a.mp4", *["within the output folder"] * 4, "too long", "is not JSON", "is not an object"]
    lines = [*range(1, 18), 18, 18, 18, *range(19, 27)]
    assert [line for line, _ in told(plan)] == lines
    assert [said for said, (_, text) in zip(says, told(plan), strict=True) if said not in text] == []
    assert [job.line for job in plan.jobs] == [27]
    error = ManifestError(plan.source, plan.faults)
    assert error.lines[-1].startswith("jobs.csv, line 26: is not an object") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column portrait"),
        ("portrait,audio\n", "has no rows"),
        ("portrait,sound\na,b\n", "no column 'sound'"),
        ("portrait,emotion\na,b\n", "there is no column audio"),
        ("portrait,audio,seed,Seed\na,b,1,2\n", "'seed' is there twice"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder, text, says):
    with pytest.raises(ManifestError, match=says):
        read_manifest(written(folder, text))


def test_a_file_that_is_none_is_refused(folder):
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("nothing.csv", "faces", "binary.csv"):
        with pytest.raises(ManifestError, match="cannot be read"):
            read_manifest(folder / name)


def test_a_row_longer_than_the_header_is_told(folder):
    plan = read_manifest(written(folder, "portrait,audio\nfaces/anna.jpg,voices/hello.wav,0:neutral,2:fear\n"))
    assert told(plan) == [(2, "has more cells than the header has columns")]


def test_outputs_that_a_file_system_takes_for_one_collide(folder):
    rows = ["a.mp4,", "b.mp4,", "A.MP4,", "c.mp4,é.npz", "d.mp4,É.npz", ",", ","]
    text = "portrait,audio,output,save_motion\n" + "".join(f"faces/anna.jpg,voices/hello.wav,{row}\n" for row in rows)
    plan = read_manifest(written(folder, text))
    assert [job.line for job in plan.jobs] == [2, 3, 5, 7]
    assert [(line, text.partition(" too;")[0]) for line, text in told(plan)] == [
        (4, "its output a.mp4 is that of line 2"),
        (6, "its output é.npz is that of line 5"),
        (8, f"its output {plan.jobs[-1].output} is that of line 7"),
    ]


def test_names_tell_what_a_video_is_and_stay(folder):
    rows = ["anna.jpg,hello.wav,", "anna.jpg,hello.wav,happiness:0.8", "Bo b.png,hello.wav,", "anna.jpg,bye.mp3,"]
    text = "portrait,audio,emotion\n" + "".join(f"faces/{row.replace(',', ',voices/', 1)}\n" for row in rows)
    names = [job.output for job in read_manifest(written(folder, text)).jobs]
    assert [name.rpartition("_")[0] for name in names] == [
        "anna_hello_neutral", "anna_hello_happiness-0.8", "Bo-b_hello_neutral", "anna_bye_neutral",
    ]  # fmt: skip
    assert len({name[-12:] for name in names}) == 4  # the digits alone
    more = written(folder, text.replace("\nfaces", f"\nfaces/anna.jpg,voices/hello.wav,fear\n{folder}/faces", 1))
    assert [job.output for job in read_manifest(more).jobs][1:] == names  # of other rows, absolute paths
    seeds = [read_manifest(more, {"seed": seed}).jobs[0].output for seed in (0, 1)]
    assert seeds[0] != seeds[1]


def test_defaults_yield_to_rows(folder):
    text = "portrait,audio,seed\nfaces/anna.jpg,voices/hello.wav,\nfaces/anna.jpg,voices/bye.mp3,3\n"
    plan = read_manifest(written(folder, text), {"seed": "5", "size": 256})
    assert [(job.options.seed, job.options.size) for job in plan.jobs] == [(5, 256), (3, 256)]
    with pytest.raises(ManifestError, match="the defaults: seed 'x' is not a whole number"):
        read_manifest(folder / "jobs.csv", {"seed": "x"})


def test_paths_among_the_defaults_start_where_those_of_rows_do(folder):
    plan = read_manifest(
        written(folder, "portrait,audio\nfaces/anna.jpg,voices/hello.wav\n"), {"head_from": "head.npz"}
    )
    assert [job.options.head_from for job in plan.jobs] == [folder / "head.npz"]
    plan = cross(folder / "faces", folder / "voices", [], {"head_from": "../head.npz"})
    assert {job.options.head_from for job in plan.jobs} == {folder / "faces/../head.npz"}


def test_folders_are_crossed(folder):
    plan = cross(folder / "faces", folder / "voices", ["neutral", "happiness:0.8"], {"size": 256})
    assert plan.faults == () and plan.source == "faces x voices"
    made = [(job.portrait.name, job.audio.name, job.options.emotion, job.options.size) for job in plan.jobs]
    assert made == [
        (face, voice, emotion, 256)
        for face in ("Bo b.png", "anna.jpg")
        for voice in ("bye.mp3", "hello.wav")
        for emotion in ("neutral", "happiness:0.8")
    ]
    assert all(job.portrait.is_file() and job.audio.is_file() for job in plan.jobs)
    assert len({job.output for job in plan.jobs}) == 8
    assert len(cross(folder / "faces", folder / "voices").jobs) == 4


def test_folders_cross_to_the_same_names_from_anywhere(folder, monkeypatch):
    names = [job.output for job in cross(folder / "faces", folder / "voices").jobs]
    monkeypatch.chdir(folder)
    assert [job.output for job in cross("faces", "./voices").jobs] == names


def test_what_cannot_be_crossed_is_said_once(folder):
    for faces, voices, emotions, says in (
        ("faces", "voices", ["joy"], "no emotion 'joy'"),
        ("voices", "voices", [], "no picture"),
        ("faces", "nowhere", [], "no recording"),
    ):
        with pytest.raises(ManifestError, match=says) as raised:
            cross(folder / faces, folder / voices, emotions)
        assert len(raised.value.faults) == 1


def test_every_option_of_talk_is_a_column():
    assert set(COLUMNS) == {"portrait", "audio", "output", *TalkOptions.__dataclass_fields__}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_cells_are_apart_by_what_parts_the_header(folder, separator):
    rows = [["portrait", "audio", "emotion"], ["faces/anna.jpg", "voices/hello.wav", '"0:neutral,2:fear"']]
    (job,) = read_manifest(written(folder, "".join(f"{separator.join(row)}\r\n" for row in rows))).jobs
    assert (job.audio.name, job.options.emotion) == ("hello.wav", "0:neutral,2:fear")


def test_lines_of_any_depth_are_told(folder):
    row = json.dumps({"portrait": "faces/anna.jpg", "audio": "voices/hello.wav"})
    plan = read_manifest(written(folder, f'{row}\n{{"seed": {"[" * 100_000}\n', "jobs.jsonl"))
    assert [line for line, _ in told(plan)] == [2] and "is not JSON" in plan.faults[0].text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_manifest_may_come_through_a_pipe(folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.mkfifo(folder / "voices" / "pipe")
    text = "portrait,audio\nfaces/anna.jpg,voices/hello.wav\nfaces/anna.jpg,voices/pipe\n"
    threading.Thread(target=(folder / "voices" / "pipe").write_text, args=(text,)).start()
    plan = read_manifest(Path("voices/pipe"))
    assert [job.portrait for job in plan.jobs] == [Path("faces/anna.jpg")]
    assert "voices/pipe is not a file" in plan.faults[0].text
