"""Videos to a motion set: cutting, neutral, sync and files on made-up arrays, and one rendered video all the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pipelines.training.footage.prepare as preparing
from contracts import FPS, KEYPOINT_VERTICES, SAMPLES_PER_FRAME
from encoders.audio.media import load_audio
from encoders.face.footage import Footage, nearest
from encoders.face.track import BLINK
from pipelines.cli.main import app
from pipelines.training.corpus import load_corpus
from pipelines.training.footage.clips import Record, remarks, with_sound
from pipelines.training.footage.prepare import prepare_set
from pipelines.training.footage.sources import PrepareError, find_videos, read_table, say_absent
from pipelines.training.footage.sync import check_sync, lag_curve
from pipelines.training.footage.takes import LONGEST, cut, find_neutral, make_takes, one_person, split

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
UPPER, LOWER = 2, 3  # keypoints of the inner lips


def footage(frames: int = 200, seed: int = 0) -> Footage:
    """A made-up head that nods, speaks and blinks in front of a still background."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / FPS
    keypoints = np.zeros((frames, 21, 3), np.float32)
    keypoints[:, LOWER, 1] = -0.1 + 0.1 * np.cos(2 * np.pi * 2 * time)  # shut at 0, 0.5, 1 ... s
    blendshapes = np.zeros((frames, 52), np.float32)
    blink = np.arange(frames) % 75 < 5
    blendshapes[:, BLINK] = blink[:, None]
    keypoints[:, 11:13, 1] -= 0.1 * blink[:, None]
    pose = np.stack([5 * np.sin(time), 10 * np.sin(0.7 * time), 3 * np.cos(time)], 1).astype(np.float32)
    return Footage(
        keypoints=keypoints, pose=pose, scale=np.full(frames, 80, np.float32),
        pivot=np.stack([100 + 8 * np.sin(time), 50 * np.ones(frames)], 1).astype(np.float32),
        blendshapes=blendshapes, aperture=-keypoints[:, LOWER, 1], misfit=np.full(frames, 0.04, np.float32),
        size=np.full(frames, 130, np.float32), several=np.zeros(frames, bool),
        covered=np.zeros(frames, bool),
        change=rng.uniform(0.5, 1.5, frames).astype(np.float32),
        face_change=rng.uniform(1, 3, frames).astype(np.float32), fps=25.0,
    )  # fmt: skip


def vanish(shot: Footage, frames: slice) -> None:
    for track in (shot.keypoints, shot.pose, shot.scale, shot.pivot, shot.blendshapes, shot.aperture, shot.misfit):
        track[frames] = np.nan


def spans(shot: Footage) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in cut(shot).stretches]


def test_good_footage_is_one_take() -> None:
    cutting = cut(footage())
    assert cutting.stretches == [slice(0, 200)] and not cutting.lost and cutting.usable.all()


def test_short_gaps_are_bridged_and_long_ones_cut() -> None:
    shot = footage()
    vanish(shot, slice(60, 63))
    vanish(shot, slice(120, 124))
    cutting = cut(shot)
    assert cutting.stretches == [slice(0, 120), slice(124, 200)]
    assert cutting.lost == {"no face": 4}
    takes, _ = make_takes(shot, cutting)
    assert [len(take) for take in takes] == [120, 76] and (~takes[0].ok).nonzero()[0].tolist() == [60, 61, 62]
    whole, _ = make_takes(whole_shot := footage(), cut(whole_shot))
    assert np.abs(takes[0].pose - whole[0].pose[:120]).max() < 0.1  # interpolated, and nothing else moves


@pytest.mark.parametrize(
    ("track", "frames", "value", "reason"),
    [
        ("pose", slice(100, 110), 43.0, "head turned away"),
        ("misfit", slice(100, 110), 0.1, "face not clear"),
        ("several", slice(100, 110), True, "another face beside it"),
        ("covered", slice(100, 110), True, "mouth covered"),
        ("face_change", slice(100, 110), 0.01, "frozen picture"),
    ],
)
def test_what_cannot_be_believed_is_left_out(track: str, frames: slice, value: float, reason: str) -> None:
    shot = footage()
    getattr(shot, track)[frames] = value
    cutting = cut(shot)
    assert cutting.stretches == [slice(0, 100), slice(110, 200)] and cutting.lost == {reason: 10}


def test_a_repeated_picture_now_and_then_is_no_freeze() -> None:
    shot = footage()
    shot.face_change[::5] = 0
    assert spans(shot) == [(0, 200)]


def test_cut_where_the_picture_changes() -> None:
    shot = footage()
    shot.change[80] = 40
    shot.change[140] = 9  # little, but not for this video
    assert spans(shot) == [(0, 80), (80, 140), (140, 200)]
    shot.change[:] = np.where(np.arange(200) % 2, 9, 2)  # a hand-held camera
    assert spans(shot) == [(0, 200)]


@pytest.mark.parametrize(("track", "step"), [("pivot", 40.0), ("pose", 20.0), ("keypoints", 0.1)])
def test_cut_where_the_head_jumps(track: str, step: float) -> None:
    shot = footage()
    getattr(shot, track)[90:] += step
    assert spans(shot) == [(0, 90), (90, 200)]


def test_a_picture_change_inside_a_gap_is_not_bridged() -> None:
    shot = footage()
    vanish(shot, slice(100, 102))
    shot.change[101] = 60
    assert spans(shot) == [(0, 100), (102, 200)]


def test_takes_under_a_second_and_a_half_go() -> None:
    shot = footage()
    shot.change[[37, 75, 113]] = 60  # 37, 38, 38 and 87 frames
    cutting = cut(shot)
    assert cutting.stretches == [slice(37, 75), slice(75, 113), slice(113, 200)] and cutting.lost == {"too short": 37}
    nothing = footage()
    vanish(nothing, slice(None))
    assert cut(nothing).stretches == [] and cut(nothing).lost == {"no face": 200}


def test_long_takes_are_split_evenly() -> None:
    for length in (38, LONGEST, LONGEST + 1, 5000):
        parts = split(length)
        sizes = [part.stop - part.start for part in parts]
        assert sum(sizes) == length and max(sizes) <= LONGEST and max(sizes) - min(sizes) <= 1
        assert len(parts) == -(-length // LONGEST)


def test_conventions_of_a_take() -> None:
    shot = footage()
    (take,), neutral = make_takes(shot, cut(shot))
    np.testing.assert_allclose(take.pose, shot.pose, atol=0.05)  # absolute
    assert np.median(take.scale) == pytest.approx(1)
    np.testing.assert_allclose(np.median(take.translation, 0), 0, atol=1e-6)
    np.testing.assert_allclose(take.translation[:, 0], (shot.pivot[:, 0] - np.median(shot.pivot[:, 0])) / 80, atol=1e-3)
    np.testing.assert_allclose(take.expression + neutral.keypoints, shot.keypoints, atol=0.06)  # smoothed
    np.testing.assert_array_equal(take.blendshapes, shot.blendshapes)  # not smoothed
    half = take.part(slice(50, 120))
    assert half.start == 50 and len(half) == 70 and half.gap[0] == take.gap[50]


def test_neutral_is_shut_frontal_and_open_eyed() -> None:
    shot = footage()
    shot.pose[:20, 1] = 30  # looks away with the mouth shut tight
    shot.keypoints[:20, LOWER, 1] = 0.02
    blink = shot.blendshapes[:, BLINK].mean(1)
    neutral = find_neutral(shot.keypoints, shot.pose, blink)
    assert neutral.correction == 0 and neutral.shut_frames >= 10
    np.testing.assert_allclose(neutral.keypoints, 0, atol=5e-3)
    assert neutral.keypoints[11, 1] == 0  # lids are open


def test_lips_that_never_meet_are_brought_together() -> None:
    """Pitfall: relative to parted lips, a mouth could only ever be shut."""
    shot = footage()
    shot.keypoints[:, LOWER, 1] -= 0.05
    neutral = find_neutral(shot.keypoints, shot.pose, shot.blendshapes[:, BLINK].mean(1))
    keypoints = neutral.keypoints[:, 1]
    assert neutral.correction == pytest.approx(0.046, abs=5e-3)
    assert keypoints[UPPER] - keypoints[LOWER] == pytest.approx(0.004, abs=1e-6)
    assert keypoints[UPPER] == pytest.approx(-0.25 * neutral.correction, abs=1e-6)


def babble(frames: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=frames + 20)
    return np.convolve(noise, np.hanning(7), "same")[10:-10]


@pytest.mark.parametrize("lag", [-6, -1, 0, 4, 6])
def test_a_lag_is_found(lag: int) -> None:
    opening = babble(400)
    gap = 0.1 + 0.05 * np.roll(opening, lag) + np.random.default_rng(1).normal(0, 0.05, 400)
    gap[100:130] = np.nan
    sync = check_sync(opening, gap)
    assert sync.lag_found == sync.lag_removed == lag and not sync.refusal
    assert sync.r > 0.7 and sync.conf > 0.5
    assert len(lag_curve(opening, gap)) == 31


def test_a_lag_that_gains_little_is_left() -> None:
    opening = np.convolve(babble(400), np.ones(15) / 15, "same")  # so slow that a frame makes no difference
    sync = check_sync(opening, np.roll(opening, 1))
    assert sync.lag_found == 1 and sync.lag_removed == 0 and sync.r - sync.r_at_0 < 0.03


def test_other_voices_are_refused() -> None:
    opening = babble(800)
    assert "do not go together" in check_sync(opening, babble(800, seed=1)).refusal
    assert "9 frames apart" in check_sync(opening, np.roll(opening, 9)).refusal
    weak = 0.3 * opening / opening.std() + 0.95 * np.random.default_rng(3).normal(size=800)
    sync = check_sync(opening, weak)
    assert 0.2 < sync.r < 0.4 and not sync.refusal  # 32 s
    sung = np.convolve(opening, np.ones(25), "same")  # so slow that it goes with the same a while later
    doubtful = sung / sung.std() + 2 * np.random.default_rng(5).normal(size=800)
    assert "doubtful" in check_sync(np.roll(sung, -3), doubtful).refusal
    assert "hardly moves" in check_sync(opening, 0.01 * opening).refusal


@pytest.mark.parametrize(("lag", "start", "frames"), [(0, 0, 180), (5, 5, 180), (-5, 0, 175)])
def test_sound_belongs_to_its_frames(lag: int, start: int, frames: int) -> None:
    """The sound has 180 frames, the picture 200."""
    shot = footage()
    (take,), _ = make_takes(shot, cut(shot))
    waveform = np.repeat(np.arange(180), SAMPLES_PER_FRAME).astype(np.float32)
    pair = with_sound(take, waveform, lag)
    assert pair is not None
    moved, sound = pair
    assert (moved.start, len(moved), len(sound)) == (start, frames, frames * SAMPLES_PER_FRAME)
    np.testing.assert_array_equal(sound[::SAMPLES_PER_FRAME], moved.start - lag + np.arange(frames))
    assert with_sound(take, waveform[: 30 * SAMPLES_PER_FRAME], lag) is None


@pytest.mark.parametrize(("fps", "count"), [(25, 50), (24, 48), (30, 60), (29.97, 60), (50, 100)])
def test_the_nearest_frame_is_taken(fps: float, count: int) -> None:
    frames = list(nearest((k / fps, k) for k in range(count)))
    ticks = np.arange(len(frames)) / FPS
    assert len(frames) == pytest.approx(count / fps * FPS, abs=1)
    assert np.abs(np.array(frames) / fps - ticks).max() <= 0.5 / fps + 1e-9


def test_folders_and_tables_that_do_not_serve(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="is not a folder"):
        find_videos(tmp_path / "absent")
    with pytest.raises(PrepareError, match="no video in"):
        find_videos(tmp_path)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "a.MP4").touch()
    assert find_videos(tmp_path) == ([tmp_path / "ann" / "a.MP4"], "")
    for name in (".DS_Store", "b.3gp", "notes.txt", "c.rm", "d.rm", "README"):
        (tmp_path / "ann" / name).touch()
    found, passed_over = find_videos(tmp_path)
    assert [path.name for path in found] == ["a.MP4", "b.3gp"]
    assert passed_over == "passed over, as their names are not those of videos: 2 .rm, 1 without an ending, 1 .txt"


def test_tables_say_who_speaks_and_more(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "a.MP4").touch()
    table = tmp_path / "people.csv"
    table.write_text("path,speaker,emotion,licence,intensity\nann/a.MP4,Ann,sadness,CC0,\n")
    stated = {"speaker": "Ann", "emotion": "sadness", "licence": "CC0"}
    assert read_table(table, tmp_path).stated == {"ann/a.MP4": stated}
    table.write_text("path,emotion\nann/a.MP4,sad\n")
    with pytest.raises(PrepareError, match=r"line 2: no emotion 'sad'; use anger"):
        read_table(table, tmp_path)
    table.write_text("file\nann/a.MP4\n")
    with pytest.raises(PrepareError, match="has no column path"):
        read_table(table, tmp_path)
    table.write_text("path,kind,frames\nann/a.MP4,talk,7\n")
    with pytest.raises(PrepareError, match="moda itself writes frames, kind for every clip; call the column otherwise"):
        read_table(table, tmp_path)
    table.write_text("path,sex\nbob.mp4,m\nann/a.MP4,f\n")  # a video that is gone stops nobody
    found = read_table(table, tmp_path)
    assert found.stated == {"ann/a.MP4": {"sex": "f"}} and found.absent == ("bob.mp4",)
    assert "1 row names a video that is not there: bob.mp4; correct" in say_absent(table, found.absent)
    assert "2 rows name videos that are not there: a.mp4, b.mp4; correct" in say_absent(table, ("a.mp4", "b.mp4"))


def test_bad_videos_are_one_line_each(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "set"
    videos.mkdir()
    (videos / "noise.mp4").write_bytes(b"no video at all")
    (videos / "empty.mov").touch()
    result = CliRunner().invoke(app, ["prepare", str(videos), "-o", str(out)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("left out")]
    assert len(lines) == 2 and "empty.mov" in lines[0] and "noise.mp4" in lines[1]
    assert result.output.count("noise.mp4") <= 2 and "empty.mov" not in result.stdout, "each reason is said once"
    assert "0 clips, 0.0 minutes, 0 speakers, from 0 of 2 videos" in result.stdout
    assert (out / "manifest.jsonl").read_text() == "" and list((out / "videos").iterdir()) == []


def test_a_refused_video_is_not_tracked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, out = tmp_path / "videos", tmp_path / "set"
    videos.mkdir()
    (videos / "mute.mp4").write_bytes(b"no lips move")
    (videos / "gone.mp4").write_bytes(b"an odd one")
    known = preparing.fingerprint

    def fingerprint(path: Path) -> str:
        if path.name == "gone.mp4":
            raise PermissionError(13, "Permission denied")
        return known(path)

    monkeypatch.setattr(preparing, "fingerprint", fingerprint)
    monkeypatch.setattr(preparing, "track", lambda path, *_: Record(path.name, seconds=9.0, refusal="mute"))
    monkeypatch.setattr(preparing, "sound_of", lambda _: np.zeros(16_000, np.float32))
    records = prepare_set(videos, out).records
    assert [(record.path, record.refusal.split(";")[0]) for record in records] == [
        ("gone.mp4", "cannot be read (Permission denied)"), ("mute.mp4", "mute"),
    ]  # fmt: skip
    monkeypatch.setattr(preparing, "track", lambda *_: pytest.fail("it is tracked again"))
    assert prepare_set(videos, out).records == records


def test_takes_as_short_as_asked_for() -> None:
    shot = footage()
    shot.change[[37, 75, 113]] = 60
    assert cut(shot, 30).stretches[0] == slice(0, 37) and not cut(shot, 30).lost


def test_another_shortest_take_has_a_video_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of an earlier version, whose record says nothing of it, was cut at 1.5 s."""
    videos, out = tmp_path / "videos", tmp_path / "set"
    videos.mkdir()
    (videos / "talk.mp4").write_bytes(b"somebody")
    cuts: list[int] = []

    def track(path: Path, key: str, *rest: object) -> Record:
        cuts.append(shortest := rest[3])
        return Record(path.name, refusal="none", shortest=shortest)

    monkeypatch.setattr(preparing, "track", track)
    monkeypatch.setattr(preparing, "sound_of", lambda _: np.zeros(16_000, np.float32))
    (out / "videos").mkdir(parents=True)
    key = preparing.fingerprint(videos / "talk.mp4")
    (out / "videos" / f"{key}.json").write_text(json.dumps({"path": "old.mp4", "refusal": "old"}))
    assert prepare_set(videos, out).records == [Record("talk.mp4", refusal="old")] and not cuts
    assert prepare_set(videos, out, shortest=0.8).records[0].refusal == "none"
    prepare_set(videos, out, shortest=0.8)
    assert cuts == [20]


def test_only_the_person_seen_longest_is_kept() -> None:
    shot = footage()
    shot.change[[60, 150]] = 60
    shot.keypoints[60:150] += np.random.default_rng(0).normal(0, 0.06, (21, 3))
    cutting = one_person(shot, cut(shot))
    assert cutting.stretches == [slice(0, 60), slice(150, 200)] and cutting.lost == {"another person": 90}
    assert one_person(footage(), cut(footage())).stretches == [slice(0, 200)]


def test_dark_glasses_are_said() -> None:
    assert remarks(footage()) == ""
    assert "dark glasses seem to hide the eyes" in remarks(replace(footage(), dark_eyes=0.9))
    assert "damaged towards its end" in remarks(replace(footage(), damaged=True))


LOWER_Y = 3 * LOWER + 1  # of motion [70]


def lips_and_head(voice: Path, length: int) -> np.ndarray:
    """Motion [length, 70] of lips that follow a recording, on a head that turns."""
    from encoders.audio.wav2vec import AudioEncoder
    from pipelines.training.footage.turns import hear

    heard = hear(AudioEncoder.embedded(), load_audio(voice)).opening[:length]
    told = np.zeros((length, 70), np.float32)
    told[:, 63] = 1
    opening = 0.25 * (heard - heard.min()) / np.ptp(heard)
    jaw = {13: 0.15, 14: -0.85, 17: -0.9, 152: -0.6}
    for vertex, share in jaw.items():
        told[:, 3 * KEYPOINT_VERTICES.index(vertex) + 1] = share * opening
    told[:, 68] = 8 * np.sin(np.arange(length) / 12)
    return told


def film(path: Path, told: np.ndarray, voice: Path, delay: float = 0.0) -> None:
    """The bundled portrait as the motion says, and a recording."""
    from encoders.face.portrait import encode_face
    from moda.render import MeshRenderer
    from pipelines.film.video import open_video

    renderer = MeshRenderer()
    with open_video(path, sound=voice, delay=delay) as video:
        for picture in renderer.render(renderer.prepare(encode_face(EXAMPLES / "portrait.jpg"), 320), told):
            video.write(picture)


@pytest.mark.slow
def test_an_interview_all_the_way(tmp_path: Path) -> None:
    """The face speaks for 3.2 s, and then is spoken to."""
    (videos := tmp_path / "videos").mkdir()
    told = lips_and_head(EXAMPLES / "voice_en.wav", 160)
    told[80:, : 3 * 11] = 0
    film(videos / "interview.mp4", told, EXAMPLES / "voice_en.wav")
    result = CliRunner().invoke(app, ["prepare", str(videos), "-o", str(tmp_path / "set")], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "s listening" in result.stderr and "of listening" in result.stdout, result.output
    talk, listen = sorted(load_corpus(tmp_path / "set", listening=True), key=lambda clip: clip.listens)
    assert [clip.name for clip in load_corpus(tmp_path / "set")] == [talk.name]
    assert 60 <= len(talk) <= 85 and 60 <= len(listen) <= 85 and listen.listens and not talk.listens
    assert listen.articulation[:, -1].std() < 0.1 * talk.articulation[:, -1].std() + 0.01


@pytest.mark.slow
def test_a_rendered_video_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Motion that follows a recording, rendered, and tracked again; the sound comes 4 frames late in a second video."""
    voice, length = EXAMPLES / "voice_en.wav", 90
    told = lips_and_head(voice, length)
    opening = told[:, LOWER_Y] / -0.85
    videos, out = tmp_path / "videos", tmp_path / "set"
    for folder, delay in (("ann", 0.0), ("bob", 4 / FPS)):
        (videos / folder).mkdir(parents=True)
        film(videos / folder / "talk.mp4", told, voice, delay)
    (videos / "copy.mp4").write_bytes((videos / "ann" / "talk.mp4").read_bytes())

    (people := tmp_path / "speakers.csv").write_text(
        "path,speaker,licence\nann/talk.mp4,ann,CC0\nbob/talk.mp4,bob,\neve/talk.mp4,eve,\n"
    )
    outcome = prepare_set(videos, out, table=people)
    assert outcome.remarks == [
        f"{people}: 1 row names a video that is not there: eve/talk.mp4; correct the column path"
    ]
    records = outcome.records
    refused = [record for record in records if record.refusal]
    assert [record.path for record in refused] == ["copy.mp4"] and "same video as ann" in refused[0].refusal
    ann, bob = sorted(load_corpus(out), key=lambda clip: clip.speaker)
    assert (ann.speaker, bob.speaker) == ("ann", "bob")
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["speaker"])
    assert [row["sync"]["lag_removed"] for row in rows] == [0, -4]
    assert [row.get("licence") for row in rows] == ["CC0", None]
    assert {row["kind"] for row in rows} == {"talk"} and all(row["sync"]["r_clip"] > 0.9 for row in rows)
    for clip, row in zip((ann, bob), rows, strict=True):
        assert len(clip) == row["frames"] >= length - 6 and len(clip.waveform) == len(clip) * SAMPLES_PER_FRAME
        frames = slice(row["start_frame"], row["start_frame"] + len(clip))
        assert np.corrcoef(clip.articulation[:, -1], opening[frames])[0, 1] > 0.9
        assert np.corrcoef(clip.motion[:, 68], told[frames, 68])[0, 1] > 0.95
    # In both, the same frames have the same sound.
    with np.load(out / "npz" / f"{rows[0]['name']}.npz") as arrays:
        np.testing.assert_allclose(arrays["pose"][:, 1] - arrays["pose"][:, 1].mean(), told[: len(ann), 68], atol=4)
        loud = arrays["audio"].astype(float)
    other = bob.waveform * 32768
    assert np.corrcoef(loud[: len(other)][: len(loud)], other[: len(loud)])[0, 1] > 0.9

    files = {
        path: path.stat().st_mtime_ns for folder in ("npz", "videos", "sounds") for path in (out / folder).iterdir()
    }
    manifest = (out / "manifest.jsonl").read_text()
    monkeypatch.setattr(preparing, "track", lambda *_, **__: pytest.fail("it is tracked again"))
    assert prepare_set(videos, out, table=people).records == records
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (out / "manifest.jsonl").read_text() == manifest

    (videos / "ann" / "talk.mp4").rename(videos / "ann" / "renamed.mp4")
    (table := tmp_path / "people.csv").write_text("path,speaker,sex,language\nann/renamed.mp4,Ann,f,en\n")
    prepare_set(videos, out, table=table)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    row = next(row for line in lines if (row := json.loads(line))["blob"] == rows[0]["blob"])
    assert (row["path"], row["speaker"], row["sex"], row["language"]) == ("ann/renamed.mp4", "Ann", "f", "en")
    assert "licence" not in row  # no longer stated
