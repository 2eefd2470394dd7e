"""Trainings that go on where they were stopped."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import torch

from moda import replacing

log = logging.getLogger(__name__)


class Resume:
    """The state of a training beside the weights it writes, so that one that was stopped goes on where it was."""

    def __init__(self, out: Path, recipe: object) -> None:
        """recipe: all that the training depends on, told apart by its ``repr``."""
        self.path, self.recipe = out.with_suffix(".state"), hashlib.sha256(repr(recipe).encode()).hexdigest()

    @property
    def kept(self) -> dict | None:
        """The state of a training of the same recipe, None without one."""
        if not self.path.is_file():
            return None
        stored = torch.load(self.path, weights_only=True)
        if stored.get("recipe") != self.recipe:
            log.warning("%s belongs to another recipe: training begins anew", self.path)
            return None
        log.info("going on from step %d", stored["step"])
        return stored

    def keep(self, state: dict) -> None:
        buffer = io.BytesIO()  # written by us, a full disk is an OSError, which the command line explains
        torch.save(state | {"recipe": self.recipe}, buffer)
        with replacing(self.path) as part:
            part.write_bytes(buffer.getbuffer())

    def __enter__(self) -> Resume:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:  # done
            self.path.unlink(missing_ok=True)
