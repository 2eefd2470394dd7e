"""The bar of long work."""

from __future__ import annotations

import io
import logging
import time

import pytest
from rich.console import Console

from pipelines.cli import console


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal is sent."""
    text = io.StringIO()
    monkeypatch.setattr(console, "errors", Console(file=text, force_terminal=True, width=120, highlight=False))
    return text


def test_long_work_says_what_it_does_how_fast_and_how_long_it_will_take(shown: io.StringIO) -> None:
    with console.stages() as tell:
        time.sleep(0.15)
        tell("hearing the clips", 0, 0)
        time.sleep(0.15)
        for done in range(6):
            tell(f"sampling the clips: {done + 1} of 6", done, 6)
            time.sleep(0.1)
        logging.getLogger("training").info("held out: 0.5")
    said = shown.getvalue()
    for word in ("starting", "hearing the clips", "sampling the clips: 6 of 6", "83%", "/s", "0:00:0", "held out: 0.5"):
        assert word in said, word


def test_without_a_terminal_there_are_log_lines_alone(
    shown: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "errors", Console(file=shown, force_terminal=False))
    with console.stages() as tell:
        tell("sampling the clips", 1, 2)
        logging.getLogger("training").info("step 50")
    assert not any(isinstance(handler, console._Above) for handler in logging.getLogger().handlers)
    assert shown.getvalue() == "" and capsys.readouterr().err.endswith("step 50\n")
