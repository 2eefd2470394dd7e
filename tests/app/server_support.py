"""The page in a process of its own, with the real models."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`moda app` with ``options``: the process, and the port at which it listens. Its log, in ``folder``, must tell of
    no fault."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    command = [sys.executable, "-m", "pipelines.cli", "app", "--port", str(port), "--device", "cpu", *options]
    with log.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file) as process:
        try:
            while True:
                assert process.poll() is None, log.read_text()
                with socket.socket() as probe:
                    if probe.connect_ex((HOST, port)) == 0:
                        break
                time.sleep(0.2)
            yield process, port
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()
