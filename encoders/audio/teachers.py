"""Teachers of the embedded audio encoder: who says which sound when. Used for training only.

hama (PyPI, Apache-2.0) reads phones off real speech but is vague about when; pocketsphinx (PyPI, BSD) is exact about
when once it knows what; espeak-ng (GPL-3, used as a tool) speaks any text in many languages and reports its own
phoneme times. Install the first two with `pip install -r requirements-train.txt`, the last with
`apt-get install espeak-ng`.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from contracts import ModaError
from encoders.audio.visemes import VISEME_INDEX, VISEMES, phone_visemes

#: Principal components of a phone recogniser's posteriors that a network hears.
COMPONENTS = 40


class TeacherError(ModaError):
    """A teacher that is not installed, or has nothing to read."""


Segment = tuple[str, float, float]  # IPA phone, begin, end in seconds

# The phones of pocketsphinx's English acoustic model, spelt in IPA (the reader's phones are mapped to the nearest).
ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_TO_ARPABET = {ipa: arpabet for arpabet, ipa in ARPABET.items()} | {
    "a": "AA", "ɐ": "AH", "ɒ": "AO", "e": "EY", "ɜ": "ER", "ɚ": "ER", "ə": "AH", "ɘ": "AH", "ɨ": "IH", "ɯ": "UW",
    "o": "OW", "ø": "UH", "œ": "ER", "y": "UW", "ʏ": "UH", "g": "G", "ɾ": "D", "r": "R", "ɻ": "R", "ɽ": "R", "x": "HH",
    "χ": "HH", "ɦ": "HH", "ç": "SH", "ʂ": "SH", "ɕ": "SH", "ʐ": "ZH", "ʑ": "ZH", "c": "K", "ɟ": "G", "ɲ": "N", "ɫ": "L",
    "ʎ": "L", "β": "B", "ɸ": "F", "ʋ": "V", "ɱ": "M", "ɣ": "G", "t͡ʃ": "CH", "d͡ʒ": "JH", "t͡ɕ": "CH", "eə": "EH",
    "ɪə": "IH", "t͈": "T", "tʰ": "T", "p͈": "P", "pʰ": "P", "k͈": "K", "kʰ": "K", "s͈": "S",
}  # fmt: skip

#: To hama's log posteriors of <blank>, as its own decoder adds it: -0.1 at a temperature of 0.95.
BLANK_BIAS = -0.095


class PhoneReader:
    """Phones and phone posteriors of real speech, by hama; boundaries by pocketsphinx forced alignment.

    What was heard last is remembered, as phones and posteriors of a waveform are asked for one after the other."""

    def __init__(self) -> None:
        self._last: tuple[bytes, np.ndarray] | None = None  # digest of the waveform, what was heard

    @property
    def phones(self) -> list[str]:
        """What the columns of `log_probabilities` stand for: IPA, and control symbols such as <blank>."""
        return list(self._hama.decoder_tokens)

    def log_probabilities(self, waveform: np.ndarray) -> np.ndarray:
        """waveform float32 [N] at 16 kHz -> float32 [frames at 50 Hz, 191] CTC log posteriors."""
        digest = hashlib.blake2b(waveform.astype(np.float32).tobytes()).digest()
        if self._last is None or self._last[0] != digest:
            self._last = digest, self._listen(waveform)
        return self._last[1].copy()

    def _listen(self, waveform: np.ndarray) -> np.ndarray:
        model = self._hama
        names = [model._log_probs_output_name, model._out_lengths_output_name]
        inputs = {
            model._waveform_input_name: waveform.astype(np.float32)[None],
            model._waveform_lengths_input_name: np.array([len(waveform)], np.int64),
        }
        log_probs, lengths = model.session.run(names, inputs)
        return np.asarray(log_probs)[0, : int(np.asarray(lengths).reshape(-1)[0])]

    def segments(self, waveform: np.ndarray) -> list[Segment]:
        """Phones with their times; empty where the reader and the aligner disagree on what was said."""
        heard = self.log_probabilities(waveform)
        heard[:, self.phones.index("<blank>")] += BLANK_BIAS
        likeliest = heard.argmax(1)
        emitted = likeliest[np.diff(likeliest, prepend=-1) != 0]  # CTC: a phone that is repeated is one
        phones = [_TO_ARPABET[name] for index in emitted if (name := self.phones[index]) in _TO_ARPABET]
        if len(phones) < 3:
            return []
        decoder = self._aligner
        pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16).tobytes()
        try:
            decoder.set_align_text(" ".join(f"q{phone.lower()}" for phone in phones))
            decoder.start_utt()
            decoder.process_raw(pcm, full_utt=True)
            decoder.end_utt()
        except RuntimeError:  # "Failed to stop utterance processing": no path through the audio spells these phones
            return []
        found: list[Segment] = []
        for piece in decoder.seg() or []:
            word = re.sub(r"\(\d+\)", "", piece.word).lstrip("q").upper()
            if word in ARPABET:
                # frame k is the 25.6 ms window that begins at 10 k ms: its centre is 12.8 ms later
                found.append((ARPABET[word], piece.start_frame / 100 + 0.0128, (piece.end_frame + 1) / 100 + 0.0128))
        return found

    @cached_property
    def _hama(self) -> Any:
        return import_teacher("hama.asr").ASRModel()

    @cached_property
    def _aligner(self) -> Any:
        pocketsphinx = import_teacher("pocketsphinx")
        model = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"
        with tempfile.NamedTemporaryFile("w", suffix=".dict") as file:
            file.writelines(f"q{phone.lower()} {phone}\n" for phone in ARPABET)
            file.flush()
            return pocketsphinx.Decoder(
                lm=None, dict=file.name, hmm=str(model), beam=1e-80, wbeam=1e-60, pbeam=1e-80, loglevel="FATAL"
            )


def import_teacher(name: str) -> Any:
    """A module of a package that only training needs. Raises TeacherError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise TeacherError(f"{package} is not installed; pip install -r requirements-train.txt") from None


@dataclass(frozen=True)
class Phonetics:
    """Principal components of a phone recogniser's log posteriors, as training speakers use them, and which class of
    mouth shape each phone belongs to."""

    centre: np.ndarray  # [191]
    axes: np.ndarray  # [40, 191], each over the spread along it
    members: np.ndarray  # [191, 16] 0 or 1: visemes, and what is none

    @classmethod
    def fit(cls, rows: np.ndarray, phones: list[str]) -> Phonetics:
        """rows: [N, 191] of the phones that are named."""
        centre = rows.mean(0)
        _, _, axes = np.linalg.svd((rows - centre)[::4], full_matrices=False)
        spread = ((rows - centre) @ axes[:COMPONENTS].T).std(0)
        return cls(centre, axes[:COMPONENTS] / spread[:, None], shape_members(phones))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[T, 191] -> float32 [T, 40], standardised"""
        return ((rows - self.centre) @ self.axes.T).astype(np.float32)


def shape_members(phones: list[str]) -> np.ndarray:
    """float32 [P, 16]: 1 where a phone has the viseme; what is no phone, a blank say, has the last column."""
    members = np.zeros((len(phones), len(VISEMES) + 1), np.float32)
    for row, phone in enumerate(phones):
        visemes = () if phone.startswith("<") else phone_visemes(phone)
        members[row, VISEME_INDEX[visemes[0]] if visemes else -1] = 1
    return members


@dataclass(frozen=True)
class Utterance:
    waveform: np.ndarray  # float32 [N] at 16 kHz
    segments: list[Segment]


class Espeak:
    """Speech with phoneme times from the espeak-ng library (its C interface, synchronous mode)."""

    _RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
    _PHONEME_EVENT = 7

    class _Event(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
            ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
            ("user_data", ctypes.c_void_p), ("text", ctypes.c_char * 8),
        )  # fmt: skip

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise TeacherError("espeak-ng is not installed; apt-get install espeak-ng") from None
        # AUDIO_OUTPUT_SYNCHRONOUS; options: phoneme events, spelt in IPA
        self._rate = self._library.espeak_Initialize(2, 0, None, 1 | 2)
        self._audio: list[np.ndarray] = []
        self._phones: list[tuple[str, float]] = []
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(self._Event)
        )
        self._callback = callback(self._receive)  # kept: the library does not own it
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count, events) -> int:  # type: ignore[no-untyped-def]
        if samples and count > 0:
            self._audio.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == self._PHONEME_EVENT:
                phone = events[index].text.decode("utf-8", "ignore")
                self._phones.append((phone, events[index].audio_position / 1000))
            index += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> Utterance:
        """text in the voice's language -> 16 kHz speech with its phones."""
        from scipy.signal import resample_poly

        self._audio.clear()
        self._phones.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise TeacherError(f"espeak-ng has no voice {voice!r}; apt-get install espeak-ng-data")
        for parameter, value in ((self._RATE, rate), (self._PITCH, pitch), (self._RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        if not self._audio:
            raise TeacherError("espeak-ng said nothing")
        audio = np.concatenate(self._audio).astype(np.float32) / 32768
        ends = [begin for _, begin in self._phones[1:]] + [len(audio) / self._rate]
        segments = [(phone, begin, end) for (phone, begin), end in zip(self._phones, ends, strict=True) if end > begin]
        waveform = resample_poly(audio, 320, 441) if self._rate == 22_050 else audio
        return Utterance(waveform.astype(np.float32), segments)
