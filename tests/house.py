"""How the house is laid out: who imports whom, in numbers.

    python -m tests.house [CHECKOUT]

Prints, for each part of a checkout, the modules of every folder, and how many rooms (the folders and files directly in
the part), floors (the longest way down along imports) and arrows (rooms that import another one) there are.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARTS = ("contracts", "encoders", "moda", "pipelines", "app")


@dataclass(frozen=True)
class Import:
    """One imported name: by ``module``, a dotted name, of ``source``, a dotted name, which is a file or a package."""

    module: str
    source: str
    name: str  # "" where a module is imported as such
    line: int
    typing: bool  # only for type checkers


class House:
    """The Python files of a checkout, by dotted name; scripts that make data (folders called assets) left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Path] = {}
        self.packages: set[str] = set()
        for part in PARTS:
            single = root / f"{part}.py"
            for path in [single] if single.is_file() else sorted((root / part).rglob("*.py")):
                names = path.relative_to(root).with_suffix("").parts
                if "assets" in names:
                    continue
                if names[-1] == "__init__":
                    names = names[:-1]
                    self.packages.add(".".join(names))
                self.files[".".join(names)] = path
        self.imports = [found for name in self.files for found in self._imports_of(name)]

    def _imports_of(self, module: str) -> Iterator[Import]:
        tree = ast.parse(self.files[module].read_text("utf-8"))
        guarded = {
            id(node)
            for guard in ast.walk(tree)
            if isinstance(guard, ast.If) and "TYPE_CHECKING" in ast.dump(guard.test)
            for node in ast.walk(guard)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(module, a.name, "", node.lineno, id(node) in guarded) for a in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(module, node)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    named = (inner, "") if inner in self.files else (source, alias.name)
                    yield Import(module, *named, node.lineno, id(node) in guarded)

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.package(module).split(".")
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def package(self, module: str) -> str:
        """The package that a module lies in; a package lies in itself, and a file of the top level in "" ."""
        return module if module in self.packages else module.rpartition(".")[0]

    def own(self, source: str) -> bool:
        """Is it one of ours?"""
        return source.partition(".")[0] in PARTS

    def within(self, package: str, module: str) -> bool:
        return module == package or module.startswith(f"{package}.")

    def door(self, package: str) -> dict[str, str]:
        """What a package hands on: name -> the module it is of; read off ``__init__.pyi``."""
        stub = self.root / Path(*package.split(".")) / "__init__.pyi"
        nodes = ast.parse(stub.read_text("utf-8")).body if stub.is_file() else []
        return {
            alias.asname or alias.name: node.module or ""
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def room(self, module: str, part: str) -> str:
        """The folder or file directly in ``part`` that a module belongs to."""
        return ".".join(module.split(".")[: part.count(".") + 2])

    def arrows(self, part: str) -> set[tuple[str, str]]:
        """Which rooms of a part import which others; what is imported from the part's own door is of its file."""
        found = set()
        for item in self.imports:
            source = item.source
            if source == part and (of := self.door(part).get(item.name)):
                source = f"{part}.{of}"
            inside = self.within(part, item.module) and self.within(part, source)
            if inside and part not in (item.module, source):
                found.add((self.room(item.module, part), self.room(source, part)))
        return {(a, b) for a, b in found if a != b}

    def floors(self, part: str) -> int:
        """Rooms on the longest way down. Raises RecursionError where there is a circle."""
        below: dict[str, set[str]] = {}
        for a, b in self.arrows(part):
            below.setdefault(a, set()).add(b)

        def height(room: str, above: tuple[str, ...] = ()) -> int:
            if room in above:
                raise RecursionError(" -> ".join((*above[above.index(room) :], room)))
            return 1 + max((height(b, (*above, room)) for b in below.get(room, ())), default=0)

        return max((height(room) for room in below), default=1)

    def modules(self) -> dict[str, int]:
        """How many modules lie in each folder, doors not counted."""
        counts: dict[str, int] = {}
        for module in self.files:
            if module not in self.packages and "." in module:
                counts[self.package(module)] = counts.get(self.package(module), 0) + 1
        return counts


def main(checkout: Path) -> None:
    house = House(checkout)
    for package, count in house.modules().items():
        print(f"{package:32} {count:3} modules")
    for part in ("encoders", "moda", "pipelines"):
        rooms = {house.room(module, part) for module in house.files if house.within(part, module) and module != part}
        arrows = house.arrows(part)
        print(f"{part:32} {len(rooms):3} rooms, {house.floors(part):2} floors, {len(arrows):3} arrows")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
