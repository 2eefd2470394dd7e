"""Nothing leaves the machine: every command runs with a library between it and the system that notes who is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from gradio_client import Client, handle_file

from pipelines.cli.main import app
from tests.app.server_support import HOST, serve
from tests.media_support import PORTRAIT, synthetic_voice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: apt-get install gcc"),
]
ROOT = Path(__file__).parents[1]
#: Notes every name that is looked up and every address beyond loopback that is connected or sent to.
SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what, const char *whom) {
    char line[512];
    int file = open(getenv("ASKED"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    int n = snprintf(line, sizeof line, "%s %s\n", what, whom);
    if (file < 0 || write(file, line, n) < 0) abort();
    close(file);
}

static void look(const char *what, const struct sockaddr *to) {
    char text[INET6_ADDRSTRLEN] = "";
    if (to == NULL) return;
    if (to->sa_family == AF_INET) {
        const struct in_addr *at = &((const struct sockaddr_in *)to)->sin_addr;
        if (ntohl(at->s_addr) >> 24 == 127 || at->s_addr == 0) return;
        inet_ntop(AF_INET, at, text, sizeof text);
    } else if (to->sa_family == AF_INET6) {
        const struct in6_addr *at = &((const struct sockaddr_in6 *)to)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(at) || IN6_IS_ADDR_UNSPECIFIED(at)) return;
        inet_ntop(AF_INET6, at, text, sizeof text);
    } else return;
    note(what, text);
}

static int near(const char *name) {
    struct in6_addr six;
    return name == NULL || !*name || !strcmp(name, "localhost") || !strncmp(name, "127.", 4) ||
           !strcmp(name, "0.0.0.0") || inet_pton(AF_INET6, name, &six) == 1;
}

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    if (!near(name)) note("getaddrinfo", name);
    return ((int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))
            dlsym(RTLD_NEXT, "getaddrinfo"))(name, port, hints, found);
}

struct hostent *gethostbyname(const char *name) {
    if (!near(name)) note("gethostbyname", name);
    return ((struct hostent *(*)(const char *))dlsym(RTLD_NEXT, "gethostbyname"))(name);
}

int connect(int socket, const struct sockaddr *to, socklen_t size) {
    look("connect", to);
    return ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))(socket, to, size);
}

ssize_t sendto(int socket, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t size) {
    look("sendto", to);
    return ((ssize_t (*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))
            dlsym(RTLD_NEXT, "sendto"))(socket, data, n, flags, to, size);
}
"""
#: What is run: the words of a command, in a folder that holds what they name. The order is that of the list: a video
#: that one makes is what another reads.
RUN = {
    "talk": "talk portrait.jpg voice.wav -o out.mp4 --size 256 --save-motion out.npz",
    "render": "render portrait.jpg out.npz -o rendered.mp4 --size 256",
    "drive": "drive portrait.jpg out.mp4 -o driven.mp4 --size 256",
    "batch": "batch jobs.csv -o videos",
    "verify": "verify out.mp4",
    "faces": "faces portrait.jpg",
    "doctor": "doctor",
    "prepare": "prepare clips -o set",
    "evaluate": "evaluate set --samples 1 --no-baselines",
    "train motion": "train motion set -o motion.safetensors --steps 1",
    "weights list": "weights list",
    "weights verify": "weights verify",
    "weights import": "weights import clips",
}
#: What ends with another code in that folder, and why.
FAILS = {
    "evaluate": "a second of one speaker is no test set",
    "train motion": "a second of one speaker is no set to train on",
    "weights import": "there are no weights in that folder",
}
#: What has a test of its own, or is not run.
OTHERS = {
    "app": "test_the_page_asks_nobody",
    "weights fetch": "fetching is what it is for",
    "train encoder": "its teachers come with requirements-train.txt",
    "train speech": "its voices come with requirements-train.txt",
}
#: Options that use the network: nothing else of these commands does.
MEANT = {"app": ["--share"], "doctor": ["--reference"], "batch": ["--ray"]}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Iterator[Path]:
    """The file in which the shim notes what is asked; it is in place for every process that begins."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    build = ["cc", "-shared", "-fPIC", "-O1", "-o", folder / "shim.so", folder / "shim.c", "-ldl"]
    subprocess.run(build, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(folder / "shim.so"))
        patch.setenv("ASKED", str(folder / "asked"))
        patch.setenv("MODA_WEIGHTS", str(folder / "weights"))
        yield folder / "asked"


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(PORTRAIT, folder / "portrait.jpg")
    synthetic_voice(folder / "voice.wav", seconds=1)
    (folder / "jobs.csv").write_text("portrait,audio,size\nportrait.jpg,voice.wav,256\n")
    return folder


def whom(asked: Path) -> list[str]:
    """Who was asked since the last time."""
    if not asked.exists():
        return []
    found = asked.read_text().splitlines()
    asked.unlink()
    return found


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        words = f"{before} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words


def test_no_command_is_forgotten():
    assert sorted(commands(typer.main.get_command(app))) == sorted([*RUN, *OTHERS])


def test_what_uses_the_network_is_noticed(asked):
    """The trap works, for names and for addresses, over TCP and UDP."""
    ask = (
        "import socket\n"
        "for do in (lambda: socket.getaddrinfo('example.invalid', 80), lambda: socket.gethostbyname('x.invalid'),\n"
        "           lambda: socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9)),\n"
        "           lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.2', 9)),\n"
        "           lambda: socket.create_connection(('127.0.0.1', 9))):\n"
        "    try: do()\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", ask], check=True)
    said = whom(asked)
    for line in ("getaddrinfo example.invalid", "connect 192.0.2.1", "sendto 192.0.2.2"):
        assert line in said
    assert any("x.invalid" in line for line in said)
    assert not any("127." in line for line in said)


@pytest.fixture(scope="module")
def clips(desk, asked) -> Path:
    """The folder with a filmed face in it."""
    if not (desk / "out.mp4").exists():
        run(desk, RUN["talk"])
    (desk / "clips").mkdir(exist_ok=True)
    shutil.copy(desk / "out.mp4", desk / "clips" / "ada.mp4")
    return desk


def run(folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pipelines.cli", *words.split()]
    return subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)


@pytest.mark.parametrize("name", RUN)
def test_a_command_asks_nobody(clips, asked, name):
    whom(asked)
    done = run(clips, RUN[name])
    assert whom(asked) == []
    assert (done.returncode != 0) is (name in FAILS), done.stderr
    assert "a fault of moda" not in done.stderr


def test_the_page_asks_nobody(clips, asked, tmp_path):
    with serve(tmp_path) as (_, port):
        client = Client(f"http://{HOST}:{port}/", verbose=False, download_files=False)
        given = handle_file(str(clips / "portrait.jpg")), handle_file(str(clips / "voice.wav"))
        video, *_ = client.predict(*given, True, {"size": 256}, api_name="/talk")
        assert video
    assert whom(asked) == []


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_to_use_the_network_says_so(name):
    options = {word for option in typer.main.get_command(app).commands[name].params for word in option.opts}
    assert set(MEANT[name]) <= options
