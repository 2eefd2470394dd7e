"""The rules of the house: who may import whom, what a checkout may hold, and what has to be written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.house import PARTS, House

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "contracts": set(),
    "encoders": {"contracts"},
    "moda": {"contracts"},
    "pipelines": {"contracts", "encoders", "moda"},
    "app": {"pipelines"},
}
#: Rooms and what they must not know, one floor finer. Products are what the whole of moda is put together in.
PRODUCTS = tuple(f"pipelines.{name}" for name in ("talk", "drive", "driving", "render", "perform", "faces"))
NOT_KNOWN = {
    "moda.motion": ("moda.network", "moda.flow", "moda.render", "moda.train"),
    "moda.network": ("moda.flow", "moda.render", "moda.train"),
    "moda.flow": ("moda.render", "moda.train"),
    "moda.render": ("moda.flow", "moda.train"),
    "pipelines.film": PRODUCTS,
    "pipelines.weights": PRODUCTS,
    "pipelines.training": PRODUCTS,
    "pipelines.evaluation": PRODUCTS,
}
#: Known by nobody but the command line and the page.
ENDS = ("pipelines.web", "pipelines.batch", "pipelines.cli")
MOST_MODULES, MOST_LINES, LONGEST = 12, 350, 60
REFERENCE = "encoders.face.landmarks.reference"
#: Smells that are none, with the reason.
LARGE: dict[str, str] = {}

LARGEST_FILE = 32 * 2**20  # bytes: 16 M parameters in fp16
LARGEST_CHECKOUT = 60 * 2**20


def imported(path: Path) -> set[str]:
    """Top-level names of every module that ``path`` imports, anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}:{node.lineno} is relative; say it in full"
            names.add(node.module.split(".")[0])
    return names


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file that git tracks, and that has not just been deleted."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip(f"not a git checkout: {listing.stderr.strip()}")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:8192]


def requirements(file: str) -> list[str]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def went_up(house: House) -> list[str]:
    """Imports of a part that may not be known."""
    return [
        f"{item.module}:{item.line} imports {item.source}"
        for item in house.imports
        if house.own(item.source)
        and (part := item.source.partition(".")[0]) != (own := item.module.partition(".")[0])
        and part not in MAY_IMPORT[own]
    ]


def knew_too_much(house: House) -> list[str]:
    """Imports of a room that the importing one must not know, whether from its own door or through that of the part."""
    found = []
    for item in house.imports:
        source = item.source
        if of := house.door(source).get(item.name) if source in house.packages else None:
            source = f"{source}.{of}"
        barred = [name for room, names in NOT_KNOWN.items() if house.within(room, item.module) for name in names]
        at_an_end = any(house.within(room, source) and not house.within(room, item.module) for room in ENDS)
        if any(house.within(name, source) for name in barred) or (
            at_an_end and item.module != "app" and not house.within("pipelines.cli", item.module)
        ):
            found.append(f"{item.module}:{item.line} imports {source}")
    return found


def missed_the_door(house: House) -> list[str]:
    """Who is outside a room imports from its door; who is inside, from the file."""
    found = []
    for item in house.imports:
        if not house.own(item.source):
            continue
        package = house.package(item.source)
        inside = bool(package) and house.within(package, item.module)
        from_file = bool(package) and item.source not in house.packages
        at_door = item.source in house.packages and item.name and item.name in house.door(item.source)
        handed_on = from_file and not item.name and item.source.rpartition(".")[2] in house.door(package)  # a module
        if (from_file and not inside and not handed_on) or (at_door and inside and item.module != item.source):
            found.append(f"{item.module}:{item.line} imports {item.name or 'all'} of {item.source}")
    return found


def idle_doors(house: House, told: str) -> list[str]:
    """Names that a door hands on to nobody: to no other room, and not to the readers of ``told`` either."""
    used = {(item.source, item.name) for item in house.imports if not house.within(item.source, item.module)}
    used |= {tuple(item.source.rpartition(".")[::2]) for item in house.imports if not item.name}
    used |= {(f"{package}.{of}", name) for package in house.packages for name, of in house.door(package).items()}
    found = []
    for package in house.packages:
        shown = {
            name.strip()
            for line in re.findall(rf"from {re.escape(package)} import ([^\n#]+)", told)
            for name in line.strip("()").split(",")
        }
        found += [
            f"{package} hands on {name}"
            for name in house.door(package)
            if (package, name) not in used and name not in shown
        ]
    return found


def circles(house: House) -> list[str]:
    """Files that import each other, be it by a way round; what only type checkers read does not count."""
    below: dict[str, set[str]] = {}
    for item in house.imports:
        source = item.source
        if source in house.packages and (of := house.door(source).get(item.name)):
            source = f"{source}.{of}"
        if source in house.files and source not in house.packages and not item.typing and source != item.module:
            below.setdefault(item.module, set()).add(source)
    found: list[str] = []
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            found.append(" -> ".join((*above[above.index(module) :], module)))
        elif module not in done:
            for source in sorted(below.get(module, ())):
                visit(source, (*above, module))
            done.add(module)

    for module in sorted(below):
        visit(module, ())
    return found


def smells(house: House) -> list[str]:
    """Folders, modules and functions that are too large to take in."""
    found = [f"{folder}: {n} modules" for folder, n in house.modules().items() if n > MOST_MODULES]
    for module, path in house.files.items():
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > MOST_LINES:
            found.append(f"{module}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= LONGEST:
                found.append(f"{module}.{node.name}: {node.end_lineno - node.lineno + 1} lines")
    return [smell for smell in found if smell.partition(":")[0] not in LARGE]


def nameless(house: House) -> list[str]:
    """Folders with modules that are no package, and packages that do not say in a docstring what they are for."""
    folders = {path.parent for module, path in house.files.items() if "." in module}
    found = [str(folder.relative_to(house.root)) for folder in folders if not (folder / "__init__.py").is_file()]
    return found + [
        package
        for package in house.packages
        if not ast.get_docstring(ast.parse(house.files[package].read_text("utf-8")))
    ]


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def told() -> str:
    """All that readers are shown."""
    return "\n".join(path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


def test_imports_go_one_way(house):
    assert went_up(house) == []


def test_rooms_know_no_more_than_they_must(house):
    assert knew_too_much(house) == []


def test_rooms_are_entered_by_their_doors(house):
    assert missed_the_door(house) == []


def test_doors_hand_on_what_others_use_and_no_more(house):
    assert idle_doors(house, told()) == []


def test_nothing_goes_in_circles(house):
    assert circles(house) == []


def test_nothing_is_too_large_to_take_in(house):
    assert smells(house) == []


def test_every_room_says_what_it_is_for(house):
    assert nameless(house) == []


#: A small house in order, and what breaks each rule: file -> text; the rule; what it says.
SMALL = {
    "contracts.py": "",
    "app.py": "from pipelines.web import serve\n",
    "encoders/__init__.py": '"""Ears."""\n',
    "encoders/ear.py": "import contracts\n",
    "moda/__init__.py": '"""Motion."""\n',
    "moda/motion/__init__.py": '"""Space."""\n',
    "moda/motion/space.py": "def rest():\n    pass\n",
    "moda/motion/__init__.pyi": "from .space import rest as rest\n",
    "moda/network/__init__.py": '"""Network."""\n',
    "moda/network/model.py": "from moda.motion import rest\n",
    "pipelines/__init__.py": '"""Products."""\n',
    "pipelines/talk.py": "",
    "pipelines/film/__init__.py": '"""Film."""\n',
    "pipelines/film/video.py": "",
    "pipelines/web/__init__.py": '"""Web."""\n',
    "pipelines/web/__init__.pyi": "from .studio import serve as serve\n",
    "pipelines/web/studio.py": "from pipelines import talk\n\n\ndef serve():\n    pass\n",
}
BROKEN: list[tuple[dict[str, str], Callable[[House], list[str]], str]] = [
    ({"encoders/ear.py": "from moda.motion import rest\n"}, went_up, "encoders.ear:1 imports moda.motion"),
    ({"pipelines/talk.py": "def page():\n    import app\n"}, went_up, "pipelines.talk:2 imports app"),
    ({"contracts.py": "import moda\n"}, went_up, "contracts:1 imports moda"),
    ({"moda/motion/space.py": "import moda.network.model as m\n"}, knew_too_much,
     "moda.motion.space:1 imports moda.network.model"),
    ({"pipelines/film/video.py": "from pipelines import talk\n"}, knew_too_much,
     "pipelines.film.video:1 imports pipelines.talk"),
    ({"pipelines/__init__.pyi": "from .talk import speak as speak\n",
      "pipelines/film/video.py": "from pipelines import speak\n"}, knew_too_much,
     "pipelines.film.video:1 imports pipelines.talk"),
    ({"pipelines/talk.py": "from pipelines.web import serve\n"}, knew_too_much,
     "pipelines.talk:1 imports pipelines.web.studio"),
    ({"app.py": "from pipelines.web.studio import serve\n"}, missed_the_door,
     "app:1 imports serve of pipelines.web.studio"),
    ({"moda/motion/files.py": "from moda.motion import rest\n"}, missed_the_door,
     "moda.motion.files:1 imports rest of moda.motion"),
    ({"moda/network/model.py": ""}, lambda house: idle_doors(house, ""), "moda.motion hands on rest"),
    ({"moda/motion/a.py": "import moda.motion.b\n", "moda/motion/b.py": "def f():\n    from moda.motion import a\n"},
     circles, "moda.motion.a -> moda.motion.b -> moda.motion.a"),
    ({f"encoders/ear{n}.py": "" for n in range(12)}, smells, "encoders: 13 modules"),
    ({"encoders/ear.py": "\n" * 351}, smells, "encoders.ear: 351 lines"),
    ({"encoders/ear.py": "def hear():\n" + "    pass\n" * 60}, smells, "encoders.ear.hear: 61 lines"),
    ({"encoders/__init__.py": ""}, nameless, "encoders"),
    ({"encoders/nose/smell.py": ""}, nameless, "encoders/nose"),
]  # fmt: skip


def build(root: Path, files: dict[str, str]) -> House:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return House(root)


def test_a_house_in_order_is_found_so(tmp_path):
    small = build(tmp_path, SMALL)
    assert [rule(small) for rule in (went_up, knew_too_much, missed_the_door, circles, smells, nameless)] == [[]] * 6
    assert idle_doors(small, "") == []
    assert (small.floors("pipelines"), small.arrows("moda")) == (2, {("moda.network", "moda.motion")})


@pytest.mark.parametrize(("files", "rule", "says"), BROKEN)
def test_each_rule_can_fail(tmp_path, files, rule, says):
    assert rule(build(tmp_path, SMALL | files)) == [says]


def test_only_the_reference_imports_mediapipe(house):
    """The library looks up a host of its maker's whenever it runs."""
    importers = [name for name, path in house.files.items() if "mediapipe" in imported(path)]
    assert importers == [REFERENCE]


def test_only_the_doctor_imports_the_reference(house):
    name = "reference_landmarks"
    importers = {item.module for item in house.imports if item.name == name or item.source == REFERENCE}
    assert importers == {"pipelines.cli.doctor"}


def test_the_page_uses_only_pipelines_and_gradio():
    foreign = imported(ROOT / "app.py") - set(sys.stdlib_module_names)
    assert foreign == {"gradio", "pipelines"}


@pytest.mark.parametrize("module", ["contracts", "encoders", "moda", "pipelines", "pipelines.cli.main"])
def test_importing_is_cheap(module):
    """``moda --help`` must answer at once: the heavy libraries load when they are first needed."""
    heavy = ["torch", "transformers", "mediapipe", "ai_edge_litert", "librosa", "gradio", "scipy"]
    code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_checkout_stays_small(tracked):
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked}
    assert {name: size for name, size in sizes.items() if size > LARGEST_FILE} == {}
    assert sum(sizes.values()) <= LARGEST_CHECKOUT


def test_no_machine_paths(tracked):
    """A path of somebody's machine in a file would work for nobody else."""
    machine = re.compile(r"(?<![\w./~-])(?:/(?:home|root|work|tmp|opt|Users|mnt)/\w|[A-Z]:\\\w)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked
        if is_text(path) and path.name != "LICENSE"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if machine.search(line)
    ]
    assert found == []


REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements-train.txt", "requirements-ray.txt")


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_requirements_are_pinned(file):
    assert [line for line in requirements(file) if not re.fullmatch(r"[\w-]+==[\w.]+", line)] == []


def test_every_import_is_required():
    """What is imported is asked for by name, and not found by the luck of another package's dependencies."""
    distributions = packages_distributions()
    declared = {line.split("==")[0].lower() for file in REQUIREMENTS for line in requirements(file)}
    names = set().union(*map(imported, House(ROOT).files.values()))
    foreign = names - set(sys.stdlib_module_names) - set(PARTS)
    undeclared = {
        name
        for name in foreign
        if name.lower() not in declared and not declared & {owner.lower() for owner in distributions.get(name, [])}
    }
    assert undeclared == set()


def test_both_opencv_packages_have_one_version():
    """They install into the same folder; of two versions, the second silently overwrites parts of the first."""
    versions = dict(line.split("==") for line in requirements("requirements.txt"))
    assert versions["opencv-python"] == versions["opencv-contrib-python"]


def test_the_notice_names_every_dependency_and_every_binary(tracked):
    notice = (ROOT / "NOTICE").read_text("utf-8")
    files = ("requirements.txt", "requirements-train.txt", "requirements-ray.txt")
    packages = [line.split("==")[0] for file in files for line in requirements(file)]
    assert [name for name in packages if not re.search(rf"^- {re.escape(name)}\b", notice, re.MULTILINE)] == []
    binaries = [path.relative_to(ROOT).as_posix() for path in tracked if not is_text(path)]
    assert [name for name in binaries if name not in notice] == []
