"""Visemes: the 15 classes of mouth shape that speech sounds share, and the table from IPA phones to them.

Classes and order follow the OVR / MPEG-4 practice (sil PP FF TH DD kk CH SS nn RR aa E I O U).
"""

from __future__ import annotations

import unicodedata

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
VISEME_INDEX = {name: index for index, name in enumerate(VISEMES)}

_PHONES = {
    "PP": "p b m ɓ ʙ ɱ",
    "FF": "f v ɸ β ʋ ⱱ",
    "TH": "θ ð",
    "DD": "t d ʈ ɖ ɾ ɽ",
    "kk": "k g ɡ ŋ c ɟ q ɢ ɴ x χ ɣ ɰ h ɦ ħ ʕ ʁ ʀ ɲ",
    "CH": "ʃ ʒ ʂ ʐ ɕ ʑ ç ʝ ʧ ʤ ʨ ʥ",
    "SS": "s z ʦ ʣ",
    "nn": "n l ɳ ɭ ʎ ɫ ɬ ɮ",
    "RR": "ɹ r ɻ ɜ ɝ ɚ",
    "aa": "a ɑ ɐ ʌ æ ä ə ᵊ ɘ ɞ ɤ",
    "E": "e ɛ œ",
    "I": "i ɪ ɨ ᵻ j ʲ",
    "O": "o ɔ ɒ",
    "U": "u ʊ w ʉ y ʏ ø ɯ ɥ ɵ",
}
_IPA_TO_VISEME = {phone: name for name, phones in _PHONES.items() for phone in phones.split()}
_AFFRICATES = {"tʃ": "ʧ", "dʒ": "ʤ", "tɕ": "ʨ", "dʑ": "ʥ", "ts": "ʦ", "dz": "ʣ"}


def phone_visemes(phone: str) -> tuple[str, ...]:
    """Visemes that an IPA phone passes through: one for most, two for a diphthong, none for an unknown symbol.

    >>> phone_visemes("aɪ"), phone_visemes("tʃ"), phone_visemes("b")
    (('aa', 'I'), ('CH',), ('PP',))
    """
    phone = unicodedata.normalize("NFD", phone.replace("\u0361", "").replace("^", ""))
    for pair, single in _AFFRICATES.items():
        phone = phone.replace(pair, single)
    found = [_IPA_TO_VISEME[symbol] for symbol in phone if symbol in _IPA_TO_VISEME]
    return tuple(name for i, name in enumerate(found) if i == 0 or name != found[i - 1])[:2]


def frame_labels(segments: list[tuple[str, float, float]], frames: int, fps: float) -> list[int]:
    """Viseme index at the centre of each frame.

    segments: (IPA phone, begin, end) in seconds, in order; a gap is silence, a diphthong is split 60 : 40.
    """
    labels = [VISEME_INDEX["sil"]] * frames
    for phone, begin, end in segments:
        visemes = phone_visemes(phone)
        if not visemes:
            continue
        borders = [begin, end] if len(visemes) == 1 else [begin, begin + 0.6 * (end - begin), end]
        for viseme, a, b in zip(visemes, borders, borders[1:], strict=False):
            # centres (k + .5) / fps inside [a, b)
            for k in range(max(0, round(a * fps)), min(frames, round(b * fps))):
                labels[k] = VISEME_INDEX[viseme]
    return labels
