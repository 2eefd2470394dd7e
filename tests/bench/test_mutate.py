"""A sample of what bench/mutate.py does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.bench.bench_support import bench


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory of a process as Linux does")
def test_a_hundred_damaged_files_end_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate = bench("mutate", monkeypatch)
    table = mutate.run(100, 7)
    assert sum(ends.total() for ends in table.values()) == 100
    assert {kind: ends for kind, ends in table.items() if set(ends) - set(mutate.GOOD)} == {}
    assert sum(ends["refused"] for ends in table.values()) > 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory of a process as Linux does")
def test_bad_ends_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mutate = bench("mutate", monkeypatch)
    monkeypatch.setattr(mutate, "PATIENCE", 2.0)

    ends = {
        "> 2 GB": lambda path: bytes(2**32),
        "hang": lambda path: time.sleep(60),
        "crash": lambda path: os.abort(),
        "traceback": lambda path: path.nothing,
        "worked": lambda path: None,
    }
    assert [mutate.trial(read, tmp_path).partition(":")[0] for read in ends.values()] == list(ends)
