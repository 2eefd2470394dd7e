"""Who speaks for `moda train speech`: six sources, each a sequence of recordings that can be made one by one.

recorded   folders of recordings that were collected (pipelines/training/recordings.py)
prompts    what people recorded for telephone exchanges (Debian's asterisk-core-sounds-* and asterisk-prompt-*)
flite, festival, espeak, kokoro    speech synthesis reading sentences (pipelines/training/texts.py) in random voices
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio import AudioError, Espeak, PhoneReader, Segment, TeacherError, load_audio, voices
from pipelines.training import texts
from pipelines.training.recordings import SUNG, Listed, read_recordings

#: espeak-ng's voices and the texts they read: those whose phones `encoders.audio.visemes` knows.
ESPEAK_VOICES = {
    "en-us": "en", "en": "en", "es": "es", "de": "de", "it": "it", "pt": "pt", "pt-br": "pt", "pl": "pl", "cs": "cs",
    "el": "el", "fi": "fi", "fr": "fr", "hi": "hi", "hu": "hu", "id": "id", "ko": "ko", "nb": "nb", "nl": "nl",
    "ro": "ro", "ru": "ru", "sv": "sv", "tr": "tr", "uk": "uk",
}  # fmt: skip
ESPEAK_VARIANTS = ("", *(f"+f{n}" for n in range(1, 6)), *(f"+m{n}" for n in range(1, 8)))
KOKORO_TEXTS = {"en-us": "en", "en-gb": "en", "es": "es", "fr-fr": "fr", "hi": "hi", "it": "it", "pt-br": "pt"}

PROMPT_MINUTES = 25.0  # of one speaker
PROMPT_BYTES = {".g722": 8000, ".gsm": 1650}  # a second
_NO_SPEECH = re.compile(r"beep|tone|silence|monkeys|ring", re.IGNORECASE)


@dataclass(frozen=True)
class Spoken:
    language: str
    voice: str
    waveform: np.ndarray  # float32 [N] at 16 kHz
    segments: list[Segment] | None  # None: nobody knows which phone is where


@dataclass(frozen=True)
class SpeechSources:
    """Where to find what the sources need; the defaults are Debian's."""

    recordings: tuple[Path, ...] = ()  # folders that are read for the source `recorded`
    kokoro: tuple[Path, ...] = ()  # searched for Kokoro's packages, before the installed ones
    fortunes: Path = Path("/usr/share/games/fortunes")
    messages: Path = Path("/usr/share/locale")
    prompts: Path = Path("/usr/share/asterisk/sounds")


class Take(NamedTuple):
    name: str
    speak: Callable[[], Spoken]


Speaker = Callable[[np.random.Generator], Spoken]


def _endless(source: str, seed: int, speak: Speaker) -> Iterator[Take]:
    """Recording k depends on the source, the seed and k alone."""
    for k in itertools.count():
        rng = np.random.default_rng([seed, zlib.crc32(source.encode()), k])
        yield Take(f"{source}-{seed}-{k:05d}", partial(speak, rng))


def _text(sentences: list[str], rng: np.random.Generator) -> str:
    return " ".join(rng.choice(sentences, 2))


def _flite(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    english = texts.fortunes(sources.fortunes).get("en")
    if not english:
        raise TeacherError(f"no English texts in {sources.fortunes}; apt-get install fortunes")
    voices.flite("installed", voices.FLITE_VOICES[0])

    def speak(rng: np.random.Generator) -> Spoken:
        voice, text = str(rng.choice(voices.FLITE_VOICES)), _text(english, rng)
        said = voices.flite(text, voice, rng.uniform(0.85, 1.25))
        return Spoken("en-us", voice, said.waveform, said.segments)

    return _endless("flite", seed, speak)


def _festival(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    known = texts.fortunes(sources.fortunes) | {"cs": texts.messages(sources.messages).get("cs", [])}
    installed = {voice: language for voice, language in voices.festival_voices().items() if known.get(language[:2])}
    if not installed:
        raise TeacherError(f"festival's voices have no texts in {sources.fortunes}; apt-get install fortunes")

    def speak(rng: np.random.Generator) -> Spoken:
        voice = str(rng.choice(sorted(installed)))
        text = _text(known[installed[voice][:2]], rng)
        said = voices.festival(text, voice, rng.uniform(0.85, 1.25))
        return Spoken(installed[voice], voice, said.waveform, said.segments)

    return _endless("festival", seed, speak)


def _espeak(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    engine, known = Espeak(), texts.messages(sources.messages) | texts.fortunes(sources.fortunes)
    languages = [voice for voice, language in ESPEAK_VOICES.items() if language in known]

    def speak(rng: np.random.Generator) -> Spoken:
        language = str(rng.choice(languages))
        voice = language + str(rng.choice(ESPEAK_VARIANTS))
        rate, pitch, spread = rng.integers((120, 20, 30), (220, 85, 80)).tolist()
        said = engine.speak(_text(known[ESPEAK_VOICES[language]], rng), voice, rate, pitch, spread)
        return Spoken(language, voice, said.waveform, said.segments)

    return _endless("espeak", seed, speak)


def _kokoro(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    engine, known = voices.Kokoro(sources.kokoro), texts.messages(sources.messages) | texts.fortunes(sources.fortunes)
    languages = [language for language, text in KOKORO_TEXTS.items() if text in known]

    def speak(rng: np.random.Generator) -> Spoken:
        language = str(rng.choice(languages))
        voice, style = engine.styles.draw(language, rng)
        said = engine.speak(_text(known[KOKORO_TEXTS[language]], rng), language, style, rng.uniform(0.85, 1.2))
        return Spoken(language, voice, said.waveform, said.segments)

    return _endless("kokoro", seed, speak)


def _recorded(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    """All that the manifests list but beds, in their order."""
    speech = [item for item in read_recordings(sources.recordings) if not item.bed]
    if not speech:
        raise TeacherError("no recordings; name a folder of them by --recordings")
    return (Take(f"recorded-{item.name}", partial(_play, item, reader)) for item in speech)


def _play(item: Listed, reader: PhoneReader) -> Spoken:
    waveform = load_audio(item.path)
    waveform = waveform[: len(waveform) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    aligned = item.language == "en" and item.kind != SUNG  # the aligner's phones are English, and spoken
    return Spoken(item.language, item.speaker, waveform, (reader.segments(waveform) or None) if aligned else None)


def _prompts(sources: SpeechSources, reader: PhoneReader, seed: int) -> Iterator[Take]:
    """Prompts of each speaker joined in a random order, the speakers taking turns."""
    folders = sorted(sources.prompts.iterdir()) if sources.prompts.is_dir() else []
    speakers = [path for path in folders if not path.is_symlink() and re.match("[a-z]{2}(_|$)", path.name)]
    takes = []
    for index, speaker in enumerate(speakers):
        plan = plan_prompts(speaker, np.random.default_rng([seed, index]))
        names = (f"prompts-{speaker.name}-{seed}-{k:03d}" for k in itertools.count())
        speak = (partial(_join, speaker.name, files, pauses, reader) for files, pauses in plan)
        takes.append(list(map(Take, names, speak)))
    if not any(takes):
        raise TeacherError(f"no prompts in {sources.prompts}; apt-get install asterisk-core-sounds-en-g722")
    turns = itertools.chain.from_iterable(itertools.zip_longest(*takes))
    return (take for take in turns if take is not None)


def plan_prompts(speaker: Path, rng: np.random.Generator) -> list[tuple[list[Path], np.ndarray]]:
    """Recordings of 6 to 15 s or one long prompt, PROMPT_MINUTES in all: their files, and the pauses between [s]."""
    files = [path for path in sorted(speaker.rglob("*")) if path.suffix in PROMPT_BYTES and not path.is_symlink()]
    files = [path for path in files if not _NO_SPEECH.search(str(path.relative_to(speaker)))]
    plan: list[tuple[list[Path], np.ndarray]] = []
    joined: list[Path] = []
    length, total, target = 0.0, 0.0, rng.uniform(6, 13)
    for index in rng.permutation(len(files)):
        joined.append(files[index])
        length += files[index].stat().st_size / PROMPT_BYTES[files[index].suffix]
        if length >= target:
            plan.append((joined, rng.uniform(0.1, 0.4, len(joined) - 1)))
            total, joined, length, target = total + length, [], 0.0, rng.uniform(6, 13)
        if total >= 60 * PROMPT_MINUTES:
            break
    return plan


def _join(voice: str, files: list[Path], pauses: np.ndarray, reader: PhoneReader) -> Spoken:
    language, pieces = voice[:2], []
    for path in files:
        with suppress(AudioError):  # the packages hold a few damaged files
            pieces.append(decode(path))
    pauses = pauses[: len(pieces) - 1]
    if language != "en":  # the aligner's phones are English
        return Spoken(language, voice, join(pieces, pauses), None)
    # one at a time: an aligner that is lost in one prompt is lost in all that follow it
    aligned = [(piece, found) for piece in pieces if (found := reader.segments(piece))]
    if not aligned:
        raise TeacherError("reader and aligner disagree on what is said")
    lengths = np.array([len(piece) / SAMPLE_RATE for piece, _ in aligned])
    pauses = pauses[: len(aligned) - 1]
    begins = np.concatenate([[0.0], np.cumsum(lengths[:-1] + pauses)])
    segments = [
        (phone, begin + at, end + at)
        for at, (_, found) in zip(begins.tolist(), aligned, strict=True)
        for phone, begin, end in found
    ]
    return Spoken(language, voice, join([piece for piece, _ in aligned], pauses), segments)


def join(pieces: list[np.ndarray], pauses: np.ndarray) -> np.ndarray:
    """Waveforms one after another, silent for `pauses` [s] between. Raises TeacherError where there are none."""
    if not pieces:
        raise TeacherError("none of the prompts can be read")
    gaps = [np.zeros(round(pause * SAMPLE_RATE), np.float32) for pause in pauses]
    return np.concatenate([pieces[0], *itertools.chain.from_iterable(zip(gaps, pieces[1:], strict=True))])


def decode(path: Path) -> np.ndarray:
    """A sound file at 16 kHz, float32 [N]. Those of telephone exchanges have no header to know them by, but a suffix.
    Raises AudioError."""
    if path.suffix not in PROMPT_BYTES:
        return load_audio(path)
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    try:
        with av.open(str(path), format=path.suffix[1:]) as container:
            frames = [*container.decode(audio=0), None]
        return np.concatenate([block.to_ndarray().ravel() for frame in frames for block in resampler.resample(frame)])
    except (av.FFmpegError, ValueError) as error:  # ValueError: not one block
        raise AudioError(f"{path} is not a readable recording ({error})") from None


#: Source -> its recordings. Raises TeacherError where it is not installed.
TAKES: dict[str, Callable[[SpeechSources, PhoneReader, int], Iterator[Take]]] = {
    "recorded": _recorded, "prompts": _prompts,
    "flite": _flite, "festival": _festival, "espeak": _espeak, "kokoro": _kokoro,
}  # fmt: skip
