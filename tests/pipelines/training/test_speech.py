"""The speech that the audio encoder is trained on: texts, voices and their timing, and the folder it is kept in."""

from __future__ import annotations

import json
import logging
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio import voices
from encoders.audio.teachers import Espeak, PhoneReader, TeacherError, Utterance, shape_members
from encoders.audio.tracks import AudioError
from encoders.audio.visemes import VISEME_INDEX, VISEMES, frame_labels, phone_visemes
from encoders.audio.voices import (
    KOKORO_LATE,
    Styles,
    festival_phone,
    kokoro_segments,
    kokoro_symbols,
    segments_from_ends,
)
from pipelines.training import speakers, speech, texts
from pipelines.training.beds import load_beds
from pipelines.training.recordings import BEDS, RecordingsError, read_recordings
from pipelines.training.speakers import PROMPT_MINUTES, SpeechSources, Spoken, Take, join, plan_prompts
from pipelines.training.speech import SpeechError, load_speech, manifest, phone_rows, summarise, write_speech

# --- timing ---


def timed(symbols: str, frames: list[int]) -> list[tuple[str, int, int]]:
    """Segments in ms on Kokoro's own clock; the padding tokens last two frames each."""
    found = kokoro_segments(symbols, np.array([2, *frames, 2]))
    return [
        (phone, round(1000 * (begin + KOKORO_LATE)), round(1000 * (end + KOKORO_LATE))) for phone, begin, end in found
    ]


def test_kokoro_is_late() -> None:
    assert kokoro_segments("a", np.array([4, 2, 2])) == [("a", pytest.approx(0.1 - 0.047), pytest.approx(0.15 - 0.047))]


def test_neighbours_share_a_stress_mark_and_a_short_space() -> None:
    assert timed("lˈo", [2, 2, 4]) == [("l", 50, 125), ("o", 125, 250)]
    assert timed("l o", [2, 2, 4]) == [("l", 50, 125), ("o", 125, 250)]
    assert timed("l ˈo", [2, 2, 2, 4]) == [("l", 50, 150), ("o", 150, 300)]


def test_long_spaces_and_punctuation_are_silence() -> None:
    assert timed("l o", [2, 4, 4]) == [("l", 50, 100), ("o", 200, 300)]
    assert timed("l, o", [2, 8, 2, 4]) == [("l", 50, 100), ("o", 325, 450)]


def test_modifiers_belong_to_the_phone_before() -> None:
    assert timed("aːt", [2, 2, 2]) == [("a", 50, 150), ("t", 150, 200)]
    assert timed("ɔ\u0303t", [2, 2, 2]) == [("ɔ", 50, 150), ("t", 150, 200)]


def test_single_symbols_of_diphthongs_are_spelt_out() -> None:
    assert [phone for phone, _, _ in timed("ˈIʧ", [1, 2, 2])] == ["aɪ", "ʧ"]


def test_espeak_ipa_in_the_alphabet_of_kokoro() -> None:
    assert kokoro_symbols("t^ʃˈe^ɪnd^ʒ", "en-us") == "ʧˈAnʤ"
    assert kokoro_symbols("bˈɜːd", "en-us") == "bˈɜɹd" and kokoro_symbols("bˈɜːd", "en-gb") == "bˈɜːd"
    assert kokoro_symbols("ɡˈo^ʊ", "en-us") == "ɡˈO" and kokoro_symbols("ɡˈə^ʊ", "en-gb") == "ɡˈQ"
    assert kokoro_symbols("bˈʌʔn\u0329", "en-us") == "bˈʌtᵊn"
    assert kokoro_symbols("(en)wˈiːk(es)", "es") == "wˈiːk"


def test_segments_from_where_they_end() -> None:
    assert segments_from_ends([("", 0.1), ("b", 0.2), ("", 0.2), ("a", 0.4)]) == [("b", 0.1, 0.2), ("a", 0.2, 0.4)]


@pytest.mark.parametrize(
    ("language", "names", "ipa"),
    [("en-us", "pau dh ax hh", "ðəh"), ("it", "# dZ o1 J", "ʤoɲ"), ("cs", "# c~ a: ch", "ʧax")],
)
def test_phone_sets_of_festival(language: str, names: str, ipa: str) -> None:
    phones = [festival_phone(name, language) for name in names.split()]
    assert "".join(phones) == ipa
    assert all(phone_visemes(phone) for phone in phones if phone)


def test_styles_are_stock_voices_mixes_and_samples() -> None:
    rng = np.random.default_rng(0)
    stock = {name: rng.normal(0, 1, (20, 256)).astype(np.float32) for name in ("af_a", "am_b", "ef_c", "em_d", "jf_e")}
    styles = Styles(stock)
    drawn = [styles.draw("es", rng) for _ in range(300)]
    samples = [style for name, style in drawn if name.startswith("sample")]
    mixes = [style for name, style in drawn if "+" in name]
    assert 120 < len(samples) < 180 and 90 < len(mixes) < 150
    assert {name for name, _ in drawn} & set(stock) == {"ef_c", "em_d"}  # of the language that is spoken
    assert all(style.shape == (20, 256) for style in mixes) and all(style.shape == (1, 256) for style in samples)
    centre, axes = styles.space
    spread = (np.concatenate(samples) - centre) @ axes[0] / (axes[0] @ axes[0])
    assert 1.1 < spread.std() < 1.6


# --- texts ---


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The best way to be heard is to speak in turn.", "en"),
        ("La vida es una de las cosas que no se entienden.", "es"),
        ("Il cane è nel giardino con la famiglia.", "it"),
        ("Gur orfg jnl gb or urneq vf gb fcrnx va ghea.", None),
    ],
)
def test_languages_are_told_by_their_commonest_words(text: str, language: str | None) -> None:
    assert texts.tell_language(text) == language


def test_only_plain_sentences_are_read() -> None:
    entry = "Short. This sentence is long enough to be read aloud.\nBut 'cp %s' is no 12 sentence at all, is it?"
    assert list(texts.sentences(entry)) == ["This sentence is long enough to be read aloud."]
    assert list(texts.sentences("/\\_/\\  ( o.o )  > ^ <   and so on and so on")) == []
    assert list(texts.sentences("THIS IS SHOUTED AT EVERYONE WHO READS IT")) == []


def test_fortunes_are_sorted_by_language(tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    said = "The best way to be heard is to speak in turn."
    (tmp_path / "wisdom").write_text(f"{said}\n%\nLa vida es una de las cosas que no se entienden.\n%\n")
    (tmp_path / "wisdom.dat").write_bytes(b"\0\1")
    (tmp_path / "off" / "rude").write_text("The rude way to be heard is to shout at them.")
    assert texts.fortunes(tmp_path) == {"en": [said], "es": ["La vida es una de las cosas que no se entienden."]}
    with pytest.raises(TeacherError, match="fortunes"):
        texts.fortunes(tmp_path / "nowhere")


def test_messages_come_from_catalogues(tmp_path: Path) -> None:
    said, mixed = "Показывает версию сервера сейчас.", "Показывает версию программы GNU сейчас."
    for language, entries in {"ru": [said, mixed], "fr": ["Un message traduit en français."]}.items():
        folder = tmp_path / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "program.mo").write_bytes(catalogue(entries))
    assert texts.messages(tmp_path) == {"fr": ["Un message traduit en français."], "ru": [said]}


def catalogue(entries: list[str]) -> bytes:
    """A GNU .mo file of these translations."""
    begin, blobs, table = 20 + 8 * len(entries), b"", b""
    for entry in entries:
        table += struct.pack("<2I", len(entry.encode()), begin + len(blobs))
        blobs += entry.encode() + b"\0"
    return struct.pack("<5I", 0x950412DE, 0, len(entries), 20, 20) + table + blobs


# --- prompts ---


def test_prompts_are_joined_to_recordings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "silence").mkdir()
    for k in range(700):  # 1 to 5 s each, half an hour in all
        (tmp_path / f"vm-{k}.g722").write_bytes(bytes(int(rng.integers(8000, 40_000))))
    for name in ("beep.g722", "silence/10.g722", "readme.txt"):
        (tmp_path / name).write_bytes(bytes(80_000))
    plan = plan_prompts(tmp_path, rng)
    used = [path for files, _ in plan for path in files]
    assert len(used) == len(set(used)) and {path.name[:3] for path in used} == {"vm-"}
    lengths = [sum(path.stat().st_size for path in files) / 8000 for files, _ in plan]
    assert min(lengths) >= 6 and max(lengths) <= 18
    assert PROMPT_MINUTES <= sum(lengths) / 60 < PROMPT_MINUTES + 0.3
    assert all(len(pauses) == len(files) - 1 and np.all((pauses >= 0.1) & (pauses <= 0.4)) for files, pauses in plan)


def test_joined_prompts_are_apart() -> None:
    joined = join([np.ones(1600, np.float32), np.ones(800, np.float32)], np.array([0.2]))
    assert len(joined) == 1600 + 3200 + 800 and not joined[1600:4800].any() and joined[4800:].all()
    with pytest.raises(TeacherError):
        join([], np.zeros(0))


def test_a_source_without_texts_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "festival_voices", lambda: {"lp_diphone": "it"})
    folders = SpeechSources(fortunes=tmp_path / "fortunes", messages=tmp_path, prompts=tmp_path)

    def start(source: str) -> None:
        with pytest.raises(TeacherError, match="apt-get install"):
            speakers.TAKES[source](folders, PhoneReader(), 0)

    start("prompts")
    start("flite")  # no folder
    folders.fortunes.mkdir()
    (folders.fortunes / "weisheiten").write_text("Das ist nicht der Weg, den wir gehen und du auch.\n%\n")
    assert list(texts.fortunes(folders.fortunes)) == ["de"]
    start("flite")  # reads English
    start("festival")  # here Italian


# --- the folder ---


class Listener:
    """In hama's place: hears `phone` wherever the sound is loud, `late` seconds on."""

    phones = ("<blank>", "a", "m")

    def __init__(self, late: float = 0.0) -> None:
        self.late = late

    def log_probabilities(self, waveform: np.ndarray) -> np.ndarray:
        loud = np.abs(waveform[: len(waveform) // 320 * 320]).reshape(-1, 320).max(1) > 0.1
        loud = np.roll(loud, round(50 * self.late))
        rows = np.full((len(loud), 3), -9.0, np.float32)
        rows[np.arange(len(loud)), loud.astype(int)] = 0
        return rows


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was spoken; a source `flite` of 4 s recordings that cannot end, and the others not installed."""
    spoken: list[str] = []

    def speak(name: str) -> Callable[[], Spoken]:
        def one() -> Spoken:
            spoken.append(name)
            waveform = np.zeros(4 * SAMPLE_RATE + 100, np.float32)
            segments = []
            for begin in np.arange(0.4, 3.6, 0.4).tolist():
                waveform[round(begin * SAMPLE_RATE) : round((begin + 0.2) * SAMPLE_RATE)] = 2.0
                segments.append(("a", begin, begin + 0.2))
            return Spoken("en-us", "somebody", waveform, segments)

        return one

    def endless(*_: object) -> Iterator[Take]:
        return (Take(f"flite-{k}", speak(f"flite-{k}")) for k in range(10**6))

    def missing(*_: object) -> Iterator[Take]:
        raise TeacherError("apt-get install it")

    monkeypatch.setattr(speech, "TAKES", dict.fromkeys(speech.SHARES, missing) | {"flite": endless})
    monkeypatch.setattr(speech, "PhoneReader", Listener)
    return spoken


def minutes(recordings: int) -> float:
    return (recordings * 4 - 1) / 60 / speech.SHARES["flite"]


def test_a_folder_is_gone_on_with(tmp_path: Path, said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write_speech(tmp_path, SpeechSources(), minutes(2), 0)
    assert "kokoro is left out: apt-get install it" in caplog.text
    assert said == ["flite-0", "flite-1"]
    write_speech(tmp_path, SpeechSources(), minutes(2), 0)
    assert len(said) == 2
    write_speech(tmp_path, SpeechSources(), minutes(3), 0)
    assert said == ["flite-0", "flite-1", "flite-2"]
    assert [row["name"] for row in manifest(tmp_path)] == said
    assert manifest(tmp_path)[0] == {
        "name": "flite-0", "source": "flite", "language": "en-us", "voice": "somebody", "seconds": 4.0,
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "npz").iterdir()) == [f"flite-{k}.npz" for k in range(3)]


def test_what_is_stored_is_what_is_loaded(tmp_path: Path, said: list[str]) -> None:
    write_speech(tmp_path, SpeechSources(), minutes(1), 0)
    (item,) = load_speech(tmp_path)
    assert (item.name, item.source, item.language, item.voice) == ("flite-0", "flite", "en-us", "somebody")
    assert len(item.waveform) == 100 * SAMPLES_PER_FRAME and np.abs(item.waveform).max() == pytest.approx(1, abs=1e-3)
    assert item.visemes.shape == (100,) and item.rows.shape == (100, 3)
    loud = np.abs(item.waveform).reshape(-1, SAMPLES_PER_FRAME).max(1) > 0.5
    assert np.array_equal(item.visemes == VISEME_INDEX["aa"], loud)


def test_an_interrupted_run_leaves_whole_recordings(tmp_path: Path, said: list[str], monkeypatch) -> None:
    rows = speech.phone_rows

    def interrupted(reader: PhoneReader, waveform: np.ndarray) -> np.ndarray:
        if len(said) == 2:
            raise KeyboardInterrupt
        return rows(reader, waveform)

    monkeypatch.setattr(speech, "phone_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_speech(tmp_path, SpeechSources(), minutes(3), 0)
    assert [item.name for item in load_speech(tmp_path)] == ["flite-0"]
    assert [path.name for path in (tmp_path / "npz").iterdir()] == ["flite-0.npz"]
    monkeypatch.undo()


def test_folders_that_cannot_be_read_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="moda train speech"):
        list(load_speech(tmp_path))
    row = {"name": "gone", "source": "flite", "language": "en-us", "voice": "rms", "seconds": 4.0}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SpeechError, match="cannot be read"):
        list(load_speech(tmp_path))
    (tmp_path / "manifest.jsonl").write_text("{not json")
    with pytest.raises(SpeechError, match="manifest"):
        list(load_speech(tmp_path))


@pytest.mark.parametrize("late", [0, 1, -2])
def test_the_check_of_timing_finds_the_lag(tmp_path: Path, said: list[str], late: int) -> None:
    write_speech(tmp_path, SpeechSources(), minutes(1), 0)
    path = tmp_path / "npz" / "flite-0.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    heard = Listener(late=(speech.HAMA_LATE - late) / FPS)
    arrays["rows"] = phone_rows(heard, arrays["audio"] / np.float32(32768)).astype(np.float16)
    np.savez(path, **arrays)
    (summary,) = summarise(tmp_path, heard)
    assert (summary.source, summary.recordings) == ("flite", 1) and summary.silent == pytest.approx(0.6)
    assert max(summary.agreement, key=lambda lag: summary.agreement[lag]) == late


# --- the programs themselves ---


def check_timing(said: Utterance) -> None:
    """Speech is loud where the labels have phones: more so than with labels moved by two frames either way."""
    frames = len(said.waveform) // SAMPLES_PER_FRAME
    loud = np.log(np.square(said.waveform[: frames * SAMPLES_PER_FRAME]).reshape(frames, -1).mean(1) + 1e-6)
    spoken = np.array(frame_labels(said.segments, frames, FPS)) != VISEME_INDEX["sil"]
    fit = {lag: np.corrcoef(np.roll(spoken, lag)[3:-3], loud[3:-3])[0, 1] for lag in (-2, 0, 2)}
    assert len(said.segments) > 20 and 0.5 < spoken.mean() < 0.98
    assert max(fit, key=lambda lag: fit[lag]) == 0


TEXT = "The old man walked home, slowly, in the rain. Then, after a while, he stopped to sing."


def test_flite_says_when() -> None:
    try:
        check_timing(voices.flite(TEXT, "slt", 1.1))
    except TeacherError as error:
        pytest.skip(str(error))


def test_espeak_says_when() -> None:
    try:
        engine = Espeak()
    except TeacherError as error:
        pytest.skip(str(error))
    check_timing(engine.speak(TEXT, "en-us+f2", 150, 50, 50))


@pytest.mark.slow
def test_festival_says_when() -> None:
    try:
        voice = sorted(voice for voice, language in voices.festival_voices().items() if language == "en-us")[0]
    except TeacherError as error:
        pytest.skip(str(error))
    check_timing(voices.festival(TEXT, voice))


@pytest.mark.slow
def test_kokoro_says_when() -> None:
    try:
        engine = voices.Kokoro()
    except TeacherError as error:
        pytest.skip(str(error))
    check_timing(engine.speak(TEXT, "en-us", engine.styles.space[0][None]))


def test_texts_and_voices_of_a_source_exist() -> None:
    """Every voice reads a language for which there are texts, and every source has its share."""
    known = {*texts._COMMON, *texts.MESSAGES}
    assert set(speakers.ESPEAK_VOICES.values()) | set(speakers.KOKORO_TEXTS.values()) <= known
    assert set(speakers.KOKORO_TEXTS) == set(voices.KOKORO_LANGUAGES)
    assert speakers.TAKES.keys() == speech.SHARES.keys()
    assert sum(share for share in speech.SHARES.values() if share < math.inf) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content", "seconds"),
    [("a.g722", bytes(8000), 1.0), ("a.gsm", (b"\xd0" + bytes(32)) * 50, 1.0)],  # 8000 bytes a second; 20 ms a frame
)
def test_prompts_without_a_header_are_known_by_their_suffix(tmp_path, name, content, seconds):
    (tmp_path / name).write_bytes(content)
    waveform = speakers.decode(tmp_path / name)
    assert waveform.dtype == np.float32 and len(waveform) == pytest.approx(seconds * 16_000, abs=32)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(AudioError, match=name):
        speakers.decode(tmp_path / name)


# --- recordings that were collected ---


def collect(folder: Path, **kinds: str) -> Path:
    """A folder of recordings, 4 s each: a tone in the last 12 frames of every second; ``kinds`` by name."""
    on = np.tile(np.arange(SAMPLE_RATE) >= 13 * SAMPLES_PER_FRAME, 4)
    tone = 0.5 * on * np.sin(2 * np.pi * 220 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE)
    rows = []
    for name, kind in kinds.items():
        place = "beds" if kind in BEDS else "wav"
        write_sound(folder / place / f"{name}.wav", tone)
        row = {"name": name, "file": f"{place}/{name}.wav", "kind": kind, "language": name[:2], "licence": "CC0 1.0"}
        rows.append(row | {"speaker": f"speaker of {name}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_sound(path: Path, waveform: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")


class Reader(Listener):
    """With an aligner, too: one phone where the sound is loud. It counts what it is given."""

    aligned = 0

    def segments(self, waveform: np.ndarray) -> list[tuple[str, float, float]]:
        Reader.aligned += 1
        return [("m", k + 0.52, k + 1.0) for k in range(4)]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> type[Reader]:
    monkeypatch.setattr(speech, "PhoneReader", Reader)
    monkeypatch.setattr(Reader, "aligned", 0)
    return Reader


def test_recordings_are_all_taken_but_beds(tmp_path: Path, reader: type[Reader]) -> None:
    folder = collect(tmp_path / "in", en_b="read", en_a="command", nl_a="read", en_c="sung", rain="noise")
    write_speech(tmp_path / "out", SpeechSources((folder,)), 0.01, 0, ("recorded",))
    found = list(load_speech(tmp_path / "out"))
    assert [item.name for item in found] == [f"recorded-{name}" for name in ("en_b", "en_a", "nl_a", "en_c")]
    assert [item.language for item in found] == ["en", "en", "nl", "en"]
    assert found[0].voice == "speaker of en_b" and found[0].rows.shape == (100, 3)
    loud = np.abs(found[0].waveform).reshape(-1, SAMPLES_PER_FRAME).max(1) > 0.1
    assert np.array_equal(found[0].visemes == VISEME_INDEX["PP"], loud) and np.array_equal(found[1].visemes == 1, loud)
    assert all((item.visemes == speech.UNKNOWN).all() for item in found[2:]) and reader.aligned == 2


def test_recordings_are_gone_on_with_and_damage_is_one_line(
    tmp_path: Path, reader: type[Reader], caplog: pytest.LogCaptureFixture
) -> None:
    folder = collect(tmp_path / "in", en_a="read", en_b="read", en_c="read")
    (folder / "wav" / "en_b.wav").write_bytes(b"no sound")
    (folder / "wav" / "en_c.wav").unlink()
    sources = SpeechSources((folder,))
    with caplog.at_level(logging.INFO):
        write_speech(tmp_path / "out", sources, 1, 0, ("recorded",))
    (damaged,) = [line for line in caplog.messages if "en_b" in line]
    assert "\n" not in damaged and sum("en_c" in line for line in caplog.messages) == 1
    assert [row["name"] for row in manifest(tmp_path / "out")] == ["recorded-en_a"]
    collect(folder, en_a="read", en_b="read")  # repaired
    write_speech(tmp_path / "out", sources, 1, 0, ("recorded",))
    assert [row["name"] for row in manifest(tmp_path / "out")] == ["recorded-en_a", "recorded-en_b"]
    assert reader.aligned == 2  # each of them once


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 is no row"),
        ('{"name": "a", "file": "a.wav"}', "no text 'kind'"),
        ('{"name": "b", "file": "a.wav", "kind": "read", "speaker": 3}', "no text 'speaker'"),
        ('{"name": "../b", "file": "a.wav", "kind": "read"}', "cannot be the name of a file"),
        ('{"name": "en_a", "file": "a.wav", "kind": "read"}', "listed twice"),
    ],
)
def test_a_faulty_manifest_of_recordings_is_one_clear_line(tmp_path: Path, line: str, says: str) -> None:
    folder = collect(tmp_path, en_a="read")
    with (folder / "manifest.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(RecordingsError, match=says) as caught:
        read_recordings([folder])
    assert "\n" not in str(caught.value)


def test_without_a_manifest_there_are_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(RecordingsError, match=r"manifest\.jsonl cannot be read"):
        read_recordings([tmp_path])
    with pytest.raises(TeacherError, match="--recordings"):
        speakers.TAKES["recorded"](SpeechSources(), PhoneReader(), 0)


def test_beds_are_read_by_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = collect(tmp_path / "in", rain="noise", crowd="babble", tune="music", en_a="read", lost="noise")
    text = (
        (folder / "manifest.jsonl").read_text().replace('"kind": "babble"', '"kind": "noise", "style": "babble of 3"')
    )
    (folder / "manifest.jsonl").write_text(text)
    (folder / "beds" / "lost.wav").write_bytes(b"no sound")
    tunes = tmp_path / "tunes"
    write_sound(tunes / "deep" / "one.wav", np.full(SAMPLE_RATE, 0.25))
    (tunes / "two.g722").write_bytes(bytes(8000))
    (tunes / "INFO").write_text("no sound")
    beds = load_beds([folder, tunes])
    assert [len(beds.of(kind)) for kind in ("noise", "babble", "music")] == [1, 1, 3]
    assert "lost.wav" in caplog.text and "INFO" not in caplog.text
    assert beds.music[1].dtype == np.int16 and np.all(np.abs(beds.music[1] - 0.25 * 32767) <= 1)


def test_folders_without_beds_say_so(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", collect(tmp_path, en_a="read")):
        with pytest.raises(RecordingsError, match="no noise, babble or music"):
            load_beds([folder])
    folder = collect(tmp_path / "lost", rain="noise")
    (folder / "beds" / "rain.wav").unlink()
    with pytest.raises(RecordingsError, match="can be read"):
        load_beds([folder])


def test_posteriors_of_phones_fold_to_those_of_visemes() -> None:
    members = shape_members(["<blank>", "m", "aɪ", "tʃ", "ʔ", "ɑ"])
    heard = np.array([0.1, 0.2, 0.5, 0.1, 0.0, 0.1], np.float32) @ members
    wanted = {"PP": 0.2, "aa": 0.6, "CH": 0.1, "none": 0.1}
    assert members.shape == (6, 16) and heard == pytest.approx([wanted.get(name, 0.0) for name in (*VISEMES, "none")])


def test_what_was_heard_last_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []

    def listen(_: PhoneReader, waveform: np.ndarray) -> np.ndarray:
        heard.append(len(waveform))
        return np.zeros((2, 3), np.float32)

    monkeypatch.setattr(PhoneReader, "_listen", listen)
    reader = PhoneReader()
    reader.log_probabilities(np.zeros(5, np.float32))[:] = 9  # what is given out is the caller's
    assert not reader.log_probabilities(np.zeros(5, np.float32)).any()
    reader.log_probabilities(np.ones(5, np.float32))
    reader.log_probabilities(np.zeros(5, np.float32))
    assert heard == [5, 5, 5]
