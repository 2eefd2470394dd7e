"""Stand-ins for the worker of a batch: light, so that a process with one begins at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from contracts import ModaError
from moda.files import sha256
from pipelines.crews.worker import Outcome, Task


class Scribe:
    """Writes what it was given where the video belongs. The name of the recording says what goes wrong."""

    def __init__(self, device: str) -> None:
        self.device = device

    def run(self, task: Task, progress: Callable[[float], object] = lambda share: None) -> Outcome:
        what = Path(task.audio).stem
        progress(0.5)
        if what == "bad":
            return Outcome(error="the recording is bad")
        if what == "deadly" or (what == "once" and not (mark := Path(task.audio).with_suffix(".tried")).exists()):
            if what == "once":
                mark.touch()
            Path(task.out).with_name(".half.part").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith("brief"):
            time.sleep(0.05)
        if what == "slow":
            Path(task.out).with_name(".half.part").write_text("half")
            time.sleep(60)
        made = [task.out] + ([task.options["save_motion"]] if task.options["save_motion"] else [])
        for path in made:
            text = f"{Path(task.portrait).name} {Path(task.audio).name} {task.options['emotion']}"
            Path(path).write_bytes(os.fsencode(text))  # names need not be text
        log = Path(task.portrait).parent / "log"
        with log.open("a", errors="surrogateescape") as file:
            file.write(f"{os.getpid()} {Path(task.portrait).stem} {what} {task.options['emotion']}\n")
        return Outcome(frames=8, seconds=0.01, warnings=("small",), hashes=tuple(sha256(path) for path in made))


class Lame:
    """Dies before it is ready."""

    def __init__(self, device: str) -> None:
        os._exit(3)


class Refuser:
    """Cannot begin."""

    def __init__(self, device: str) -> None:
        raise ModaError(f"there is no device {device!r} here")
