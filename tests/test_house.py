"""The rules of the house: who may import whom, what a checkout may hold, and what has to be written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("contracts", "encoders", "moda", "pipelines", "app")
MAY_IMPORT = {
    "contracts": set(),
    "encoders": {"contracts"},
    "moda": {"contracts"},
    "pipelines": {"contracts", "encoders", "moda"},
    "app": {"pipelines"},
}
LARGEST_FILE = 16 * 2**20  # bytes: the motion generator, about 8 M parameters in fp16
LARGEST_CHECKOUT = 40 * 2**20


def sources(room: str) -> list[Path]:
    single = ROOT / f"{room}.py"
    return [single] if single.is_file() else sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of every module that ``path`` imports, anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays in its own room, unless it climbs out of it.
            depth = len(path.relative_to(ROOT).parts) - 1
            assert node.level <= depth, f"{path.relative_to(ROOT)}:{node.lineno} climbs out of its package"
            if node.level == 0:
                assert node.module
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


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room):
    files = sources(room)
    assert files, f"{room} has no modules"
    forbidden = set(ROOMS) - {room} - MAY_IMPORT[room]
    broken = {str(path.relative_to(ROOT)): sorted(imported(path) & forbidden) for path in files}
    assert not {path: names for path, names in broken.items() if names}


def test_only_the_reference_imports_mediapipe():
    """The library looks up a host of its maker's whenever it runs."""
    importers = [path.relative_to(ROOT) for room in ROOMS for path in sources(room) if "mediapipe" in imported(path)]
    assert importers == [Path("encoders", "face", "reference.py")]


def test_only_the_doctor_imports_the_reference():
    importers = [
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sources(room)
        if "encoders.face.reference" in path.read_text("utf-8") and path.name != "landmarker.py"
    ]
    assert importers == [Path("pipelines", "cli", "doctor.py")]


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


def test_every_package_has_an_init():
    folders = {path.parent for room in ("encoders", "moda", "pipelines") for path in sources(room)}
    folders = {folder for folder in folders if folder.name != "assets"}  # data, and the scripts that made it
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


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
    names = set().union(*(imported(path) for room in ROOMS for path in sources(room)))
    foreign = names - set(sys.stdlib_module_names) - set(ROOMS)
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


def test_the_readme_shows_only_files_that_exist():
    readme = (ROOT / "README.md").read_text("utf-8")
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if not link.startswith("http")]
    assert [link for link in linked if not (ROOT / link).exists()] == []


def test_the_readme_shows_only_commands_that_exist():
    from typer.main import get_command

    from pipelines.cli.main import app

    readme = (ROOT / "README.md").read_text("utf-8")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    every = [sub for command in commands.values() for sub in (command, *getattr(command, "commands", {}).values())]
    options = {
        option
        for command in every
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    shown = "\n".join(re.findall(r"```bash\n(.*?)```", readme, re.DOTALL))
    assert {name for name in re.findall(r"^moda (\w+)", shown, re.MULTILINE)} - set(commands) == set()
    assert {name for name in re.findall(r"^make ([\w-]+)", shown, re.MULTILINE)} - set(targets) == set()
    assert {name for name in re.findall(r"--[a-z][a-z-]+", readme)} - options == set()
