"""The same recording in another encode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

import pipelines.training.footage.prepare as preparing
from contracts import SAMPLE_RATE
from encoders.audio.media import load_audio
from pipelines.training.footage.clips import Record
from pipelines.training.footage.copies import find_copy, sound_print
from tests.media_support import write_sound, write_wav

VOICES = Path(__file__).resolve().parents[4] / "examples"


def recordings(seconds: float) -> dict[str, np.ndarray]:
    """Stretches of speech, from one recording."""
    voice, length = load_audio(VOICES / "voice_en.wav"), round(seconds * SAMPLE_RATE)
    return {f"{i}.mp4": voice[i * length : (i + 1) * length] for i in range(len(voice) // length)}


@pytest.mark.parametrize(("codec", "ending", "rate"), [("aac", "m4a", 44_100), ("pcm_alaw", "wav", 8000)])
def test_another_encode_is_found(tmp_path: Path, codec: str, ending: str, rate: int) -> None:
    sounds = recordings(2.4)
    prints = {name: sound_print(sound) for name, sound in sounds.items()}
    assert len(sounds) >= 3
    for name, sound in sounds.items():
        late = np.pad(0.4 * sound, (270, 0))  # quieter, and not in step with the frames
        at_rate = resample_poly(late, rate // 100, SAMPLE_RATE // 100)
        path = write_sound(tmp_path / f"copy.{ending}", at_rate.astype(np.float32), codec, rate)
        assert find_copy(load_audio(path), prints) == name


def test_other_recordings_are_not() -> None:
    sounds = recordings(1.2)
    prints = {name: sound_print(sound) for name, sound in sounds.items()}
    for name, sound in sounds.items():
        assert find_copy(sound, {other: value for other, value in prints.items() if other != name}) is None
    assert find_copy(np.zeros(SAMPLE_RATE, np.float32), prints) is None
    assert find_copy(sounds["0.mp4"], {}) is None
    assert find_copy(np.zeros(100, np.float32), {"short": sound_print(np.zeros(100, np.float32))}) is None


def test_one_of_two_encodes_is_kept_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the other one comes later, and sorts before the one that is done."""
    first, second = list(recordings(1.2).values())[:2]
    videos, out = tmp_path / "videos", tmp_path / "set"
    videos.mkdir()
    write_wav(videos / "b.mp4", first)
    tracked = []

    def track(path: Path, key: str, *_: object) -> Record:
        tracked.append(path.name)
        row = {"name": path.stem, "blob": key, "kind": "listen", "seconds": 1.0, "neutral": {}}
        return Record(path.name, clips=[row])

    monkeypatch.setattr(preparing, "track", track)
    preparing.prepare_set(videos, out)
    write_wav(videos / "a.mp4", 0.5 * first)
    write_wav(videos / "c.mp4", second)
    (table := tmp_path / "people.csv").write_text("path,speaker\na.mp4,Ann\nb.mp4,Bob\n")
    (copy, kept, other) = preparing.prepare_set(videos, out).records
    assert copy.refusal == "the same recording as b.mp4, which is kept" and not kept.refusal and not other.refusal
    assert tracked == ["b.mp4", "c.mp4"]
    for sound in (out / "sounds").iterdir():
        sound.unlink()  # as in a set of an earlier version
    assert preparing.prepare_set(videos, out).records[0] == copy and tracked == ["b.mp4", "c.mp4"]
    assert not preparing.prepare_set(videos, out, table=table).records[0].refusal  # two cameras at one talk
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(row["path"], row["speaker"]) for row in rows][:2] == [("a.mp4", "Ann"), ("b.mp4", "Bob")]
