"""Who may ask the page for what: its names, the addresses it answers, files it gives out, passwords that may fail."""

from __future__ import annotations

import os
import re
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

SHARED = ".gradio.live"  # the names that Gradio gives to pages opened by --share
#: What page and programs need of gradio's routes. The others are not there: some fetch what they are told to.
READ = re.compile(
    r"/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|logout|(?:assets|static|svelte)/.+|gradio_api/(?:"
    r"app_id|info|openapi\.json|user|login_check|startup-events|theme\.css|heartbeat/\w+|queue/(?:data|status)|"
    r"upload_progress|call/(?:v2/)?\w+/\w+))?/?"
)
WRITE = re.compile(
    r"/(?:login|gradio_api/(?:upload|component_server|cancel|reset|queue/join|(?:call/(?:v2/)?|run/|api/)\w+))/?"
)
UPLOAD = "/gradio_api/upload"
LOGIN = "/login"
FILE = "/gradio_api/file="


@dataclass(frozen=True)
class Names:
    """The names by which browsers may know the page, so that no other page can pass for it (DNS rebinding).

    Loopback's names always, and ``more``. A page that listens beyond loopback also goes by its ``host``, the name of
    the machine, and by addresses: what is an address nobody can have pointed here. ``shared``: Gradio's names too.
    """

    host: str = "127.0.0.1"
    more: tuple[str, ...] = ()
    shared: bool = False

    def allow(self, host: str) -> bool:
        """Whether a Host header is of this page."""
        name = _name(host)
        if name is None:
            return False
        if _loops(name) or self.named(name) or (self.shared and name.endswith(SHARED)):
            return True
        machine = socket.gethostname().lower()
        return self.open and (_address(name) or name in (self.host.lower(), machine, f"{machine}.local"))

    def named(self, name: str) -> bool:
        return name in {more.lower() for more in self.more}

    @property
    def open(self) -> bool:
        """Whether it listens beyond this machine."""
        return not _loops(self.host.lower())

    def allow_origin(self, origin: str, host: str) -> bool:
        """Whether what asks is this page itself: the Origin header is its own Host, or of a name in ``more``, for a
        proxy may tell another Host."""
        try:
            given = urlsplit(origin)
        except ValueError:
            return False
        own = {host.lower(), f"{host.lower()}:{443 if given.scheme == 'https' else 80}"}
        return given.scheme in ("http", "https") and (
            given.netloc.lower() in own or self.named(_name(given.netloc) or "")
        )


def _name(host: str) -> str | None:
    """The name or address in a Host header, in small letters, without port, brackets and last dot."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", host.lower(), re.ASCII)
    return None if found is None else found[1].strip("[]").removesuffix(".")


def _address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _loops(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _address(name) and ip_address(name).is_loopback


def is_ours(method: str, path: str, folders: Iterable[Path]) -> bool:
    """Whether a request is one of those that the page answers: files are given out of ``folders`` alone."""
    if method not in ("GET", "HEAD"):
        return method == "POST" and WRITE.fullmatch(path) is not None
    if not path.startswith(FILE):
        return READ.fullmatch(path) is not None
    file = path.removeprefix(FILE)
    if not os.path.isabs(file) or "\0" in file:
        return False
    return any(Path(os.path.abspath(file)).is_relative_to(folder) for folder in folders)


class Tries:
    """How often each client may fail within ``seconds``; of the clients the last ``clients`` are known."""

    def __init__(
        self, most: int = 5, seconds: float = 60.0, clients: int = 1000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.seconds, self.clients, self._clock = most, seconds, clients, clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()  # when; who failed last is last

    def wait(self, client: str) -> float:
        """Begin a try, which counts as failed until :meth:`forgive`. Seconds to wait where there were too many."""
        now = self._clock()
        failed = self._failed.setdefault(_who(client), deque(maxlen=self.most))
        self._failed.move_to_end(_who(client))
        if len(self._failed) > self.clients:
            self._failed.popitem(last=False)
        if len(failed) == self.most and now - failed[0] < self.seconds:
            return self.seconds - (now - failed[0])
        failed.append(now)
        return 0.0

    def forgive(self, client: str) -> None:
        """The last try was none that failed."""
        failed = self._failed.get(_who(client))
        if failed:
            failed.pop()


def _who(client: str) -> str:
    """A client, by its address; an IPv6 one by its network, of which it has all addresses."""
    try:
        address = ip_address(client)
    except ValueError:
        return client[:100]
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else client
