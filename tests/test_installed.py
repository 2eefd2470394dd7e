"""moda in the places where people run it: an empty folder, or one with files of the same names as its rooms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.media_support import PORTRAIT, tone, write_wav

ROOT = Path(__file__).parents[1]
MODA = Path(sys.executable).with_name("moda")
FOREIGN = 'raise SystemExit("the wrong one")\n'


def run(folder: Path, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, env=os.environ | environment
    )


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder of somebody whose own files are called as the rooms are."""
    for name in ("app.py", "contracts.py"):
        (tmp_path / name).write_text(FOREIGN, "utf-8")
    for name in ("encoders", "moda"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(FOREIGN, "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ([sys.executable, "-m", "pipelines.cli"], {}),
        ([MODA], {}),
        ([MODA], {"PYTHONPATH": "."}),
        ([sys.executable, "-m", "pipelines.cli"], {"PYTHONPATH": "."}),
    ],
)
@pytest.mark.parametrize("words", [["--help"], ["faces", PORTRAIT], ["app", "--port", "1", "--host", "256.0.0.1"]])
def test_own_files_of_the_same_names_are_left_alone(crowded, command, environment, words):
    if command == [MODA] and not MODA.is_file():
        pytest.skip(f"no console script beside {sys.executable}")
    # Where the tests run from a checkout that is not the one installed, the checkout has to be named.
    paths = [environment["PYTHONPATH"]] if "PYTHONPATH" in environment else []
    result = run(crowded, *command, *words, PYTHONPATH=os.pathsep.join([*paths, str(ROOT)]))
    assert "the wrong one" not in result.stdout + result.stderr
    if words[0] == "app":  # the page is built and loaded, and only then cannot be served there
        assert result.returncode == 1 and "the page cannot be served at 256.0.0.1:1" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_from_python_among_own_files(crowded):
    program = "from pipelines import TalkingHead; import contracts; print(contracts.__file__)"
    result = run(crowded, sys.executable, "-c", program, PYTHONPATH=str(ROOT))
    assert result.stdout.strip() == str(ROOT / "contracts.py"), result.stderr


def test_whose_module_was_there_first_is_said(crowded):
    (crowded / "contracts.py").write_text("", "utf-8")
    result = run(crowded, sys.executable, "-c", "import contracts, pipelines", PYTHONPATH=str(ROOT))
    assert "moda has a module 'contracts' of its own" in result.stderr.splitlines()[-1]
    assert "import pipelines before it, or rename it" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_wheel_has_all_that_is_needed(tmp_path):
    """Built, installed into an environment of its own, and used from an empty folder; the libraries are those here."""
    source, wheels, home, empty = (tmp_path / name for name in ("source", "wheels", "home", "empty"))
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "bench", "out", "runs", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)  # a build in the checkout would take along what older ones left
    empty.mkdir()
    built = run(tmp_path, sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source)
    if "Could not find a version" in built.stderr or "No matching distribution" in built.stderr:
        pytest.skip("no package index to build a wheel with")
    assert built.returncode == 0, built.stderr
    venv.create(home, with_pip=True, symlinks=True)
    python, moda = home / "bin" / "python", home / "bin" / "moda"
    (wheel,) = wheels.glob("moda-*.whl")
    installed = run(tmp_path, python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    site = run(tmp_path, python, "-c", "import site; print(site.getsitepackages()[0])").stdout.strip()
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    Path(site, "libraries.pth").write_text("\n".join(libraries) + "\n", "utf-8")  # after its own

    where = run(empty, python, "-c", "import pipelines, app; print(pipelines.__file__, app.__file__)")
    assert all(place.startswith(site) for place in where.stdout.split()), where.stdout + where.stderr
    assert run(empty, python, "-c", "from pipelines import TalkingHead; TalkingHead").returncode == 0
    voice = write_wav(tmp_path / "voice.wav", tone(1.0, 16_000))
    talked = run(empty, moda, "talk", PORTRAIT, voice, "-o", "out.mp4", "--size", "256", "--no-provenance")
    assert talked.returncode == 0 and (empty / "out.mp4").is_file(), talked.stderr
    served = run(empty, moda, "app", "--port", "1", "--host", "256.0.0.1")
    assert "the page cannot be served at 256.0.0.1:1" in served.stderr
