"""Starts the simulator as a process and hands out official SDK clients for it.

BULKRATE_SIM_CMD names another command, for example one that runs the crate's example. Extra arguments are appended to it.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import shlex
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "debug" / "bulkrate"
DEFAULT = f"{shlex.quote(str(BINARY))} sim openai --port 0"


class Sim:
    """A running simulator."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def client(self, **options: object) -> openai.OpenAI:
        settings: dict = {"api_key": "sk-test", "base_url": self.base_url, "max_retries": 0, "timeout": 30.0}
        return openai.OpenAI(**(settings | options))

    def page(self, name: str) -> dict:
        """`bill` or `requests`."""
        url = self.base_url.removesuffix("/v1") + f"/sim/{name}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def started(*arguments: str, provider: str = "openai") -> Iterator[Sim]:
    command = shlex.split(os.environ.get("BULKRATE_SIM_CMD", DEFAULT)) + list(arguments)
    command = [provider if word == "openai" else word for word in command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://"), f"unexpected first line {line!r} of {command}"
            yield Sim(line.removeprefix("listening on ").strip())
        finally:
            process.terminate()
            process.wait(timeout=10)


class Recorder(http.server.ThreadingHTTPServer):
    """Passes everything on to the simulator, and keeps it."""

    def __init__(self, sim: Sim) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = urllib.parse.urlsplit(sim.base_url).netloc
        self.seen: list[tuple[str, str, dict, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def passed(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, body))
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = passed


@contextlib.contextmanager
def recorded(sim: Sim) -> Iterator[Recorder]:
    server = Recorder(sim)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()


@pytest.fixture(scope="session")
def sim() -> Iterator[Sim]:
    """One fault-free simulator for all tests that do not need their own."""
    with started("--speed", "7200") as running:
        yield running


@pytest.fixture()
def sim_with() -> Iterator[Callable[..., Sim]]:
    """Starts simulators with arguments of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(started(*arguments))


@pytest.fixture()
def client(sim: Sim) -> openai.OpenAI:
    return sim.client()
