"""Sentences to read aloud in many languages, from what a Debian system has: fortunes and translated messages."""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from encoders.audio import TeacherError

#: The language of a fortune is told by its commonest words; what has none (rot13, drawings) is no sentence.
_COMMON = {
    "en": "the of and to a is in you that it for not have be with are was your my this but they what as on",
    "es": "el la los las de que y en un una es no se por con para lo su del al más como pero si está yo",
    "de": "der die das und ist nicht ein eine ich du sie es zu den mit von auf für im dem wenn man auch wie wird",
    "it": "il lo gli di che e un una non per sono è si con del della ma più come nel ho ha se chi i cosa",
    "pt": "o os as de que e um uma não para é se com do da em por mais como mas no na você ao seu quando",
    "pl": "i w nie na się z to że do jest jak o co ale po tak od przez być który dla są ja już tylko",
}
_WORDS = {language: frozenset(words.split()) for language, words in _COMMON.items()}

#: Translations of programs' messages; those of scripts with capitals must not mix in Latin words.
MESSAGES = ("cs", "el", "fi", "fr", "hi", "hu", "id", "ko", "nb", "nl", "ro", "ru", "sv", "tr", "uk")


def fortunes(folder: Path) -> dict[str, list[str]]:
    """Sentences by language (en es de it pt pl) of Debian's packages fortunes, fortunes-es, ... Raises TeacherError."""
    found: dict[str, list[str]] = {language: [] for language in _WORDS}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.is_symlink() or file.suffix in (".dat", ".u8") or "off" in file.parts:
            continue
        for entry in re.split(r"^%$", file.read_text("utf-8", "ignore"), flags=re.MULTILINE):
            for text in sentences(entry):
                language = tell_language(text)
                if language is not None:
                    found[language].append(text)
    if not any(found.values()):
        raise TeacherError(f"no texts in {folder}; apt-get install fortunes fortunes-es fortunes-de fortunes-it")
    return {language: sorted(set(texts)) for language, texts in found.items() if texts}


def messages(folder: Path) -> dict[str, list[str]]:
    """Sentences by language (MESSAGES) of the gettext catalogues in a folder such as /usr/share/locale."""
    found = {}
    for language in MESSAGES:
        files = sorted(folder.glob(f"{language}/LC_MESSAGES/*.mo"))
        texts = {text for file in files for message in _translations(file) for text in sentences(message)}
        if _is_latin(language):
            found[language] = sorted(texts)
        else:
            found[language] = sorted(text for text in texts if not re.search("[A-Za-z]", text))
    return {language: texts for language, texts in found.items() if texts}


def sentences(entry: str) -> Iterator[str]:
    """The plain sentences of 25 to 120 characters in a piece of text: no figures, no symbols, no shouting."""
    for text in re.split(r"(?<=[.!?])\s+", " ".join(entry.split())):
        plain = sum(unicodedata.category(c)[0] in "LM" or c in " ,.'!?¿¡’-" for c in text)
        words = text.split()
        if not 25 <= len(text) <= 120 or plain < 0.98 * len(text) or len(words) < 3:
            continue
        if max(map(len, words)) > 25 or sum(c.isupper() for c in text) > 0.3 * len(text):
            continue
        if re.search(r"(.)\1\1|--|[%$<>_/\\=|{}@#*]", text):
            continue
        yield text


def tell_language(text: str) -> str | None:
    """The language whose commonest words the text has most of, at least two and more than any other language's."""
    words = re.findall(r"\w+", text.lower())
    counts = sorted((sum(word in common for word in words), language) for language, common in _WORDS.items())
    (second, _), (most, language) = counts[-2:]
    return language if most >= 2 and most > second else None


def _is_latin(language: str) -> bool:
    return language not in ("el", "hi", "ko", "ru", "uk")


def _translations(file: Path) -> list[str]:
    """The translated strings of a GNU .mo file, utf-8 as all of Debian's are."""
    data = file.read_bytes()
    magic, _, count, _, table = struct.unpack_from("<5I", data)
    if magic != 0x950412DE:
        return []
    places = (struct.unpack_from("<2I", data, table + 8 * k) for k in range(count))
    return [data[begin : begin + size].decode("utf-8", "ignore") for size, begin in places if size]
