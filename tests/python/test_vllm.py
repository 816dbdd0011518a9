"""vLLM's own models judge the lines that go to `vllm run-batch`, the requests that go to its server, and what the simulator answers.

vLLM takes keys of any name without a word, and so do its models. Here they're told to refuse what they have no field for.
"""

from __future__ import annotations

import copy
import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import BINARY, ROOT
from test_outgoing import OPEN, outgoing, places
from vllm_sources import fetched, tools_folder

SERVICES = ("vllm", "vllm-offline")


@pytest.fixture(scope="module")
def sources() -> pathlib.Path:
    return fetched(tools_folder(ROOT))


def judged(sources: pathlib.Path, asked: list[dict]) -> list[dict]:
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    script = pathlib.Path(__file__).with_name("vllm_models.py")
    done = subprocess.run([sys.executable, str(script), str(sources)], input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(asked)
    return verdicts


@functools.cache
def rows() -> list[dict]:
    """What is sent: as lines of a file, and to a server as bodies."""
    return [row for row in outgoing() if row["service"] in SERVICES and row["refused"] is None]


def asked(row: dict) -> dict:
    return {"what": "input", "value": row["line"]} if row["lane"] == "batch" else {"what": "body", "url": "/v1" + row["path"].removeprefix("/v1"), "value": row["body"]}


def test_every_field_goes_out_as_vllms_models_have_it(sources):
    verdicts = judged(sources, [asked(row) for row in rows()])
    wrong = {" ".join(row[name] for name in ("service", "field", "lane")): verdict["refused"] for row, verdict in zip(rows(), verdicts) if verdict["refused"]}
    assert not wrong, json.dumps(wrong, indent=1)
    assert {(row["lane"], row["kind"], verdict["as"]) for row, verdict in zip(rows(), verdicts)} == {
        (lane, kind, model) for lane in ("sync", "batch") for kind, model in (("chat", "ChatCompletionRequest"), ("embedding", "EmbeddingCompletionRequest"))
    }
    for service in SERVICES:
        taken = {row["field"] for row in rows() if row["service"] == service}
        assert {"max_tokens", "system_prompt", "stop_sequences", "top_k", "output_schema", "choices", "image"} <= taken
        assert taken | {row["field"] for row in outgoing() if row["service"] == service and row["refused"]} == {row["field"] for row in outgoing()}


def leaves(body: object, place: tuple = ()) -> Iterator[tuple]:
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else None
    if items is None:
        yield place
        return
    for name, part in items:
        if name not in OPEN:
            yield from leaves(part, (*place, name))


def planted(row: dict, place: tuple, name: object, value: object) -> dict:
    wrong = copy.deepcopy(asked(row))
    functools.reduce(lambda part, step: part[step], place, wrong["value"])[name] = value
    return wrong


def test_a_key_or_a_type_that_does_not_exist_is_found_wherever_it_stands(sources):
    keys, types = [], []
    for row in rows():
        value = asked(row)["value"]
        keys += [planted(row, place, "of_nobody", 1) for place in places(value, OPEN)]
        types += [planted(row, place[:-1], place[-1], {"of": "nobody"}) for place in leaves(value)]
    assert len(keys) > 100 and len(types) > 200
    taken = [ask for ask, verdict in zip(keys + types, judged(sources, keys + types)) if not verdict["refused"]]
    assert not taken, json.dumps(taken[:5], indent=1)


def test_the_simulators_lines_are_vllms(sources, tmp_path):
    lines = [row["line"] for row in rows() if row["lane"] == "batch"]
    other = {"custom_id": "other", "method": "POST", "url": "/v1/chat/completions", "body": lines[0]["body"] | {"model": "another"}}
    words = {"custom_id": "url", "method": "POST", "url": "/v1/responses", "body": {"model": "org/model", "input": "x"}}
    (tmp_path / "in").write_text("".join(json.dumps(line) + "\n" for line in [*lines, other, words]))
    command = [str(BINARY), "sim", "vllm", "run-batch", "-i", "in", "-o", "out", "--model", "org/model"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    verdicts = judged(sources, [{"what": "output", "value": answer} for answer in answers])
    assert [verdict["refused"] for verdict in verdicts if verdict["refused"]] == []
    # A model that the simulator does not know does not reason.
    answered = ["reasoning_effort" not in line["body"] for line in lines]
    models = ["EmbeddingResponse" if line["url"] == "/v1/embeddings" else "ChatCompletionResponse" for line in lines]
    wanted = [model if well else "ErrorResponse" for model, well in zip(models, answered)]
    assert set(wanted) > set(models) and sum(answered) > 10
    assert [verdict["as"] for verdict in verdicts] == [*wanted, "ErrorResponse", "str"]
    wrong = [{"what": "output", "value": answer | {"of_nobody": 1}} for answer in answers]
    for answer in (answer for answer, well in zip(answers, answered) if well):
        twin = copy.deepcopy(answer)
        twin["response"]["body"]["of_nobody"] = 1
        wrong.append({"what": "output", "value": twin})
    assert all(verdict["refused"] for verdict in judged(sources, wrong))
