"""Starts the simulator as a process and hands out official SDK clients for it.

BULKRATE_SIM_CMD names another command, for example one that runs the crate's example. Extra arguments are appended to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT = f"{shlex.quote(str(ROOT / 'target' / 'debug' / 'bulkrate'))} sim openai --port 0"


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
