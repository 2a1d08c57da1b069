"""Pages on loopback for one person: an address nobody can guess, and nothing that a browser keeps.

Whoever has an account on this machine can reach the port, and so can any page that the person's browser shows.
So every address begins with a long random word; a request under another host's name is refused, as a page
that rebinds its name to 127.0.0.1 sends it; and the address that starts a browser, which other accounts can
read in the list of processes, opens once.
"""

import hmac
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from avih.errors import AvihError, UsageError
from avih.html.page import POLICY

HOST: Final = "127.0.0.1"
NAMES: Final = (HOST, "localhost")
TOKEN_BYTES: Final = 32
PATIENCE_S: Final = 30  # for a client that says nothing
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
REFUSED: Final = "Refused. Use the address that avih show printed."
USED: Final = (
    "This address was used already. Use the one that avih show printed; if you did not open this one, stop "
    "the command: somebody else on this machine did."
)
# The path below the token, and the words after the question mark; None: there is no such page.
Pages = Callable[[str, dict[str, str]], str | None]


class PageServer(ThreadingHTTPServer):
    """Serves pages that are made when they are asked for, one at a time.

    Args:
        pages: makes them.
        port: 0 for any that is free.

    Raises:
        UsageError: the port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, pages: Pages, *, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"Expected a free port, got {port}: {getattr(error, 'strerror', None) or error}. Name another "
                "with --port, or leave it out."
            ) from None
        self.pages, self.making = pages, threading.Lock()
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._ticket: str | None = secrets.token_urlsafe(TOKEN_BYTES)
        self.first_visit = f"{self._origin}/open/{self._ticket}"

    @property
    def _origin(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    @property
    def address(self) -> str:
        """Where the pages are; whoever knows it may look at them."""
        return f"{self._origin}/{self.token}/"

    def spend(self, ticket: str) -> bool:
        """Tell whether this is the ticket of the first visit, which is good for one."""
        with self.making:
            good = self._ticket is not None and _equal(ticket, self._ticket)
            self._ticket = None if good else self._ticket
        return good

    def knows(self, token: str) -> bool:
        """Tell whether this is the token."""
        return _equal(token, self.token)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = PATIENCE_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "avih", ""

    def do_GET(self) -> None:
        hosts = {f"{name}:{self.server.server_port}" for name in NAMES}
        if self.headers.get_all("Host", []) not in [[host] for host in hosts]:
            self._answer(HTTPStatus.FORBIDDEN, REFUSED)
            return
        parts = urlsplit(self.path)
        first, _, rest = parts.path.lstrip("/").partition("/")
        if first == "open":
            self._open(rest)
        elif self.server.knows(first):
            self._page(rest, {name: values[-1] for name, values in parse_qs(parts.query).items()})
        else:
            self._answer(HTTPStatus.FORBIDDEN, REFUSED)

    def _open(self, ticket: str) -> None:
        if self.server.spend(ticket):
            self._answer(HTTPStatus.SEE_OTHER, "", Location=f"/{self.server.token}/")
        else:
            self._answer(HTTPStatus.FORBIDDEN, USED)

    def _page(self, path: str, asked: dict[str, str]) -> None:
        try:
            with self.server.making:
                text = self.server.pages(path, asked)
        except (AvihError, OSError) as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        if text is None:
            self._answer(HTTPStatus.NOT_FOUND, "There is no such page.")
        else:
            self._answer(HTTPStatus.OK, text, kind="text/html")

    def _answer(self, status: HTTPStatus, text: str, *, kind: str = "text/plain", **more: str) -> None:
        data = text.encode()
        self.send_response_only(status)
        facts = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(data)),
            "Connection": "close",
        }
        for name, value in {**HEADERS, **facts, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: addresses hold the token."""
