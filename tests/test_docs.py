"""What README.md and docs/ show is there: options, links, commands, paths, rooms; and their examples run."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from moda.render.framing import SIZE
from pipelines import TalkingHead, TalkOptions
from pipelines.batch.manifest import COLUMNS
from pipelines.cli.main import app
from pipelines.web.studio import suited
from pipelines.weights import LITE
from tests.media_support import PORTRAIT, synthetic_voice

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
CARDS = [ROOT / room / "README.md" for room in ("encoders/assets", "moda/assets", "moda/render/mesh/assets")]
CARDS.append(ROOT / "examples" / "README.md")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# ---- the tables of options

FRAMING = {"frame": "full", "size": SIZE}  # what None comes to (tests/moda/render), for most pictures


class Option(NamedTuple):
    name: str  # as one types it
    default: str  # as a table shows it


def told(text: str) -> set[Option]:
    """What the table of options says."""
    return {Option(row[0].strip("`"), row[1].strip("`")) for row in rows(text, "Options")}


def shown(value: Any) -> str:
    """A default as the tables write it."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def known(command: str) -> set[Option]:
    """What the command takes. A flag is named as that which changes something, and is off; None is what suits the
    default weights or most pictures, where that can be said."""
    options = set()
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        if parameter.param_type_name != "option":
            continue
        long = next(word for word in parameter.opts if word.startswith("--"))
        if parameter.is_flag:
            options.add(Option(parameter.secondary_opts[0] if parameter.default else long, "off"))
        else:
            default = None if parameter.required else parameter.default
            instead = (suited(LITE) | FRAMING).get(parameter.name) if command == "talk" else None
            options.add(Option(long, shown(instead if default is None else default)))
    return options


@pytest.mark.parametrize(("page", "command"), [("use", "talk"), ("page", "app"), ("batch", "batch")])
def test_the_table_of_options_is_what_the_command_takes(page, command):
    assert told((ROOT / "docs" / f"{page}.md").read_text("utf-8")) == known(command)


@pytest.mark.parametrize(
    ("page", "command", "line", "instead"),
    [
        ("use", "talk", "| `--seed` | `0` |", "| `--seed` | `1` |"),  # another default
        ("use", "talk", "| `--mark` | off |", "| `--mask` | off |"),  # no such option
        ("use", "talk", "| `--steps` | `5` |", "| `--steps` | |"),  # a default left out
        ("use", "talk", "| `--size` | `512` |", "| `--size` | `256` |"),
        ("use", "talk", "| `--no-provenance` | off |", "| `--provenance` | on |"),
        ("batch", "batch", "| `--workers` | `1` |", "| `--workers` | `2` |"),
    ],
)
def test_a_wrong_table_is_found(page, command, line, instead):
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    assert line in text
    assert told(text.replace(line, instead)) != known(command)


def test_a_missing_row_is_found():
    text = (ROOT / "docs" / "use.md").read_text("utf-8")
    without = re.sub(r"^\| `--face` .*\n", "", text, flags=re.MULTILINE)
    assert known("talk") - told(without) == {Option("--face", "")}


def test_the_options_of_python_are_those_of_the_command():
    """docs/use.md says which have no field in TalkOptions; the defaults of all others are the same."""
    command = get_command(app).commands["talk"]  # type: ignore[attr-defined]
    parameters = {option.name: option for option in command.params if option.param_type_name == "option"}
    own = {field.name: field.default for field in fields(TalkOptions)}
    assert {key: parameters[key].default for key in own} == own
    text = (ROOT / "docs" / "use.md").read_text("utf-8")
    (sentence,) = re.findall(r"Only\s(.*?) are not among", text, re.DOTALL)
    others = {word for key in set(parameters) - set(own) for word in parameters[key].opts if word.startswith("--")}
    assert set(re.findall(r"`([^`]+)`", sentence)) == others


def test_the_columns_of_a_manifest_are_the_options_of_the_command():
    """docs/batch.md says which are no columns, and which has another name."""
    columns = {column.replace("_", "-") for column in COLUMNS} - {"portrait", "audio", "provenance"} | {"no-provenance"}
    options = {option.name.removeprefix("--") for option in known("talk")}
    (sentence,) = re.findall(r"Only\s(.*?) are no columns", (ROOT / "docs" / "batch.md").read_text("utf-8"), re.DOTALL)
    assert {word.removeprefix("--") for word in re.findall(r"`([^`]+)`", sentence)} == options - columns
    assert columns <= options


# ---- links and paths


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=name)
def test_links_lead_somewhere(page):
    assert dead_links(page, page.read_text("utf-8")) == []


def test_dead_links_are_found():
    text = "[a](docs/use.md) [b](docs/none.md) [c](docs/use.md#options) [d](docs/use.md#none) [e](#limits) [f](#none)"
    assert dead_links(README, text) == ["docs/none.md", "docs/use.md#none", "#none"]


def test_every_page_can_be_reached():
    for page, folder in ((README, "docs/"), (ROOT / "docs" / "README.md", "")):
        text = page.read_text("utf-8")
        others = [other.name for other in DOCS if other.name != "README.md"]
        assert [other for other in others if f"]({folder}{other})" not in text] == []


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=name)
def test_paths_exist(page):
    """Files and folders of the repository that are named in the text and in blocks, links apart."""
    text = re.sub(r"\]\([^)]*\)", "]", page.read_text("utf-8"))
    paths = re.findall(r"(?<![\w./-])(?:encoders|moda|pipelines|tests|bench|examples|docs)/[\w./-]*[\w/]", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


# ---- commands


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the shell blocks of a page."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", "").splitlines():
            for part in re.sub(r"(^|\s)#.*", "", line).split("&&"):
                if part.strip() and not line.startswith("file()"):
                    yield shlex.split(part)


def mentioned(text: str) -> Iterator[list[str]]:
    """The words of every command of ours that the text names."""
    yield from map(shlex.split, re.findall(r"`((?:moda|make|python) [^`]+)`", prose(text)))


def options_of(command: Any) -> set[str]:
    return {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def fault(words: list[str]) -> str:
    """What is wrong with a command; nothing if it can be given, or is none of ours."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return "" if rest and rest[0] in targets else "no such target"
    if program == "python" and not rest[0].startswith("-"):
        if not (ROOT / rest[0]).is_file():
            return "no such script"
        source = (ROOT / rest[0]).read_text("utf-8")
        return next((f"no {word}" for word in rest if word.startswith("--") and f'"{word}"' not in source), "")
    if program != "moda":
        return ""
    command: Any = get_command(app)
    while rest and hasattr(command, "commands"):
        while rest and rest[0] in options_of(command):
            rest = rest[1:]
        if not rest or rest[0] == "COMMAND":  # any
            return ""
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return next((f"no {word}" for word in rest if re.match("--?[a-z]", word) and word not in options_of(command)), "")


@each_page
def test_commands_exist(page):
    text = page.read_text("utf-8")
    wrong = {shlex.join(words): fault(words) for words in (*commands(text), *mentioned(text))}
    assert {line: what for line, what in wrong.items() if what} == {}


def test_wrong_commands_are_found():
    text = """`moda tlak`, `moda talk p.jpg --sead 3`, `moda weights get`, `moda batch --emotion x`
```bash
moda talk p.jpg v.wav -o out.mp4 --seed 3   # right
moda doctor && make demos
python bench/none.py
python bench/talk.py --size 256 --colour
moda weights fetch moda --files
```
"""
    assert [fault(words) for words in (*commands(text), *mentioned(text))] == [
        "", "", "no such target", "no such script", "no --colour", "no --files", "no command tlak", "no --sead",
        "no command get", "no --emotion",
    ]  # fmt: skip


@each_page
def test_options_in_the_text_exist(page):
    """Of whichever command they are; those of other programs stand behind its name."""
    tree = get_command(app).commands.values()  # type: ignore[attr-defined]
    every = [get_command(app), *tree, *(sub for command in tree for sub in getattr(command, "commands", {}).values())]
    spans = re.findall(r"`([^`]+)`", prose(page.read_text("utf-8")))
    ours = [span for span in spans if not re.match("(pip|docker|wsl) ", span)]
    shown = set(re.findall(r"(?<!\S)--[a-z][\w-]+", " ".join(ours)))
    assert shown - set().union(*map(options_of, every)) == set()


# ---- what is said in several places


def test_pinned_versions_are_those_of_the_requirements():
    pins = re.findall(r"^\S+==\S+$", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    shown = [pin for page in PAGES for pin in re.findall(r"[\w-]+==[\d.]+", page.read_text("utf-8"))]
    assert shown and set(shown) <= set(pins)


@pytest.mark.parametrize("file", ["Makefile", "README.md", "Dockerfile", "docs/trouble.md"])
def test_system_libraries_are_named_alike(file):
    assert "libgl1 libglib2.0-0" in (ROOT / file).read_text("utf-8")


def test_the_image_gets_all_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    tools = project["tool"]["setuptools"]
    files = [f"{module}.py" for module in tools["py-modules"]] + project["project"]["license-files"]
    folders = [pattern.rstrip("*") for pattern in tools["packages"]["find"]["include"]]
    wanted = {*files, *folders, project["project"]["readme"], "pyproject.toml", "requirements*.txt"}
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert set(kept) == wanted


# ---- rooms


def rooms() -> set[str]:
    packages = [init.parent for top in ("encoders", "moda", "pipelines") for init in (ROOT / top).rglob("__init__.py")]
    return {name(package) + "/" for package in packages} | {
        "contracts.py", "app.py", "tests/", "bench/", "examples/", "docs/"
    }  # fmt: skip


def listed(text: str) -> list[str]:
    table = rows(text, "The house")
    assert all(purpose for _, purpose in table)
    return [room.strip("`") for room, _ in table]


def test_every_room_is_listed_once():
    found = listed((ROOT / "docs" / "how-it-works.md").read_text("utf-8"))
    assert sorted(found) == sorted(rooms())


def test_a_room_that_is_missing_or_extra_is_found():
    text = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
    assert sorted(listed(re.sub(r"^\| `moda/flow/` .*\n", "", text, flags=re.MULTILINE))) != sorted(rooms())
    assert sorted(listed(text.replace("| `moda/flow/` |", "| `moda/flaw/` |"))) != sorted(rooms())


def test_every_bench_is_listed():
    text = (ROOT / "docs" / "measure.md").read_text("utf-8")
    scripts = [name(path) for path in (ROOT / "bench").glob("*.py") if "__main__" in path.read_text("utf-8")]
    assert sorted(row[0].strip("`") for row in rows(text, "All benches")) == sorted(scripts)


# ---- examples


def missing_imports(code: str) -> list[str]:
    missing = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            missing += [alias.name for alias in node.names if not hasattr(module, alias.name)]
    return missing


@each_page
def test_python_examples_compile_and_import(page):
    for code in blocks(page.read_text("utf-8"), "python"):
        compile(code, name(page), "exec")
        assert missing_imports(code) == []


def test_a_wrong_import_is_found():
    assert missing_imports("from pipelines import TalkingHead, TalkingHat") == ["TalkingHat"]
    with pytest.raises(ModuleNotFoundError):
        missing_imports("import pipelines.hats")


@pytest.fixture(scope="module")
def driving(tmp_path_factory):
    """A video of a talking face, as moda makes it."""
    folder = tmp_path_factory.mktemp("driving")
    voice = synthetic_voice(folder / "voice.wav", seconds=1)
    return TalkingHead().make(PORTRAIT, voice, folder / "driving.mp4", TalkOptions(size=256))


@pytest.fixture
def desk(tmp_path, monkeypatch, driving):
    """A folder with the files that the examples name."""
    (tmp_path / "driving.mp4").write_bytes(driving.read_bytes())
    for picture in ("portrait.jpg", "another.jpg", "group.jpg"):
        (tmp_path / picture).write_bytes(PORTRAIT.read_bytes())
    synthetic_voice(tmp_path / "voice.wav", seconds=1)
    (tmp_path / "jobs.csv").write_text("portrait,audio,size\nportrait.jpg,voice.wav,256\nanother.jpg,voice.wav,256\n")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, ROOT / "docs" / "use.md"], ids=name)
def test_the_python_examples_run(page, desk):
    examples = blocks(page.read_text("utf-8"), "python")
    for code in examples:
        exec(compile(code, name(page), "exec"), {"__name__": "__main__"})
    outputs = {file for code in examples for file in re.findall(r'"(\w+\.mp4)"', code)}
    assert outputs and all((desk / output).stat().st_size > 1000 for output in outputs)


@pytest.mark.slow
def test_the_batch_example_runs(desk):
    (code,) = blocks((ROOT / "docs" / "batch.md").read_text("utf-8"), "python")
    (desk / "jobs.py").write_text(code)  # a file, as its workers import it
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "jobs.py"], env=where, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(list((desk / "out").glob("*.mp4"))) == 2


SERVES = "app"  # does not end; tests/app has it


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, ROOT / "docs" / "use.md"], ids=name)
def test_the_commands_of_use_run(page, desk):
    """One after the other, as a reader would."""
    given = [words for words in commands(page.read_text("utf-8")) if words[0] == "moda"]
    assert len(given) >= 4
    for words in given:
        if words[1] != SERVES:
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{shlex.join(words)}: {result.output}"
    outputs = [after for words in given for before, after in pairwise(words) if before == "-o"]
    assert outputs and all((desk / output).exists() for output in outputs)
