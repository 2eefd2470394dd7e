"""The rooms of this house have common names, which a folder of the user's may have too: here they are reserved.

Python looks for ``app``, ``contracts``, ``encoders`` and ``moda`` in the current folder (``python -m``, a notebook) and
in PYTHONPATH first. Whoever imports ``pipelines``, which every way into moda does, gets those that lie beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("app", "contracts", "encoders", "moda")


class _OwnRooms(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(ROOT)]) if fullname in ROOMS else None


def reserve() -> None:
    """From now on the names of the rooms mean ours. Raises ImportError where one was imported that is not."""
    for name in ROOMS:
        module = sys.modules.get(name)
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())] if module else []
        if module and ROOT not in {parent for place in places if place for parent in Path(place).resolve().parents}:
            raise ImportError(
                f"moda has a module {name!r} of its own, and this program has imported another one "
                f"({next(filter(None, places), 'of unknown origin')}); import pipelines before it, or rename it"
            )
    sys.meta_path.insert(0, _OwnRooms())
