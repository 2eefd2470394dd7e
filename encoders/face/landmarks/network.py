"""A TensorFlow Lite network, run by LiteRT (the package ai-edge-litert) on the CPU."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array

_stderr = threading.Lock()  # held while file descriptor 2, which all threads share, leads nowhere


class Network:
    """One network with one input, in one thread: it is too small to gain from more."""

    def __init__(self, model: bytes) -> None:
        with quiet_stderr():
            from ai_edge_litert.interpreter import Interpreter

            self._interpreter: Any = Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [output["index"] for output in self._interpreter.get_output_details()]

    def __call__(self, tensor: Array) -> list[Array]:
        """Its outputs for ``tensor``, float32 of the shape the network has been made for, in the model's order."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]

    def close(self) -> None:
        """Free its memory; it cannot be called any more."""
        self._interpreter = None


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep the start-up chatter of native code (which no logging option reaches) off the terminal."""
    with _stderr:
        try:
            saved = os.dup(2)
        except OSError:  # no stderr at all, as under pythonw
            yield
            return
        try:
            with open(os.devnull, "wb") as sink:
                os.dup2(sink.fileno(), 2)
                yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
