"""The weights that videos can be made with, by name, and their files; nothing is loaded.

``lite`` is embedded. ``moda`` is the published system: its motion generator, chinese-hubert-base and LivePortrait, as
`moda weights` keeps them. ``random-base`` is the same at its full size with random numbers for weights: what it makes
is no face, but every network is as large, and takes as long. Anything else is the folder of an own training.
"""

from __future__ import annotations

from pathlib import Path

from contracts import ModaError
from moda.render import RenderError
from pipelines.weights.store import RECORD, find_weights, here

LITE, PUBLISHED, RANDOM = "lite", "moda", "random-base"
WEIGHTS = (LITE, PUBLISHED, RANDOM)
RENDERERS = ("mesh", "liveportrait", "random")
HUBERT, LIVEPORTRAIT = "chinese-hubert-base", "liveportrait"
_PUBLISHED = (PUBLISHED, HUBERT, LIVEPORTRAIT)  # all that the published system takes
#: Files of a folder with an own training.
ENCODER, MOTION = "encoder.safetensors", "motion.safetensors"


class ModelsError(ModaError):
    """Weights of no known name, or not here."""


def installed() -> tuple[str, ...]:
    """Names of weights that videos can be made with here."""
    return (LITE, PUBLISHED) if set(_PUBLISHED) <= set(here()) else (LITE,)


def check_models(weights: str) -> None:
    """Raise a ModaError unless the files of ``weights`` are there."""
    if weights == PUBLISHED:
        for name in _PUBLISHED:
            find_weights(name)
    elif weights not in WEIGHTS:
        missing = [name for name in (ENCODER, MOTION) if not Path(weights, name).is_file()]
        if missing:
            raise ModelsError(
                f"there are no weights {weights!r}; give {', '.join(WEIGHTS)} or a folder with {ENCODER} and {MOTION} "
                "of your own training"
            )


def check_renderer(name: str) -> None:
    """Raise a ModaError unless there is such a renderer, and the files are there that it needs."""
    if name not in RENDERERS:
        raise RenderError(f"there is no renderer {name!r}; choose from {', '.join(RENDERERS)}")
    if name == "liveportrait":
        find_weights(LIVEPORTRAIT)


def model_files(weights: str) -> list[Path]:
    """The files that say what the models are, those of published weights by their hashes. Raises a ModaError."""
    check_models(weights)
    if weights == PUBLISHED:
        return [find_weights(name) / RECORD for name in _PUBLISHED]
    return [] if weights == RANDOM else list(own_files(weights))


def own_files(weights: str) -> tuple[Path, Path]:
    """Audio encoder and motion generator that were trained by this project's own commands."""
    if weights == LITE:
        from encoders.audio import EMBEDDED as EMBEDDED_ENCODER  # here, as these take seconds to import
        from moda.network import EMBEDDED as EMBEDDED_MOTION

        return EMBEDDED_ENCODER, EMBEDDED_MOTION
    return Path(weights, ENCODER), Path(weights, MOTION)
