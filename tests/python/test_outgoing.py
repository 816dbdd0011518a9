"""The types of the services' own clients judge what bulkrate sends: every field, in every lane, with nothing that they do not know.

`crates/bulkrate-provider/examples/outgoing.rs` prints the requests. BULKRATE_OUTGOING_CMD names another program that does.
"""

from __future__ import annotations

import collections.abc
import copy
import functools
import json
import os
import shlex
import subprocess
import types
import typing
import urllib.parse
import warnings
from typing import Any

import anthropic.types.message_create_params as anthropic_chat
import anthropic.types.messages.batch_create_params as anthropic_batch
import discovery
import fireworks.types as fireworks_types
import fireworks.types.chat.completion_create_params as fireworks_chat
import groq.types.chat.completion_create_params as groq_chat
import mistralai.client.models as mistral_types
import openai.types as openai_types
import openai.types.chat.completion_create_params as openai_chat
import openai.types.image_generate_params as openai_images
import openai.types.responses.response_create_params as openai_responses
import openrouter.components as openrouter_types
import pydantic
import pytest
import together.types as together_types
import together.types.chat.completion_create_params as together_chat
import typing_extensions
from conftest import BINARY, recorded, started
from google.genai import types as google
from google.protobuf import json_format
from xai_sdk.proto.v6 import batch_pb2 as xai_batch

PRINTER = BINARY.parent / "examples" / "outgoing"
SHUT = pydantic.ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


@functools.cache
def outgoing() -> list[dict]:
    command = shlex.split(os.environ.get("BULKRATE_OUTGOING_CMD", shlex.quote(str(PRINTER))))
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def closed(hint: Any) -> Any:
    """The type without its gaps: a TypedDict and an answer take keys of any name, and an iterable is looked at only when it is used."""
    if typing_extensions.is_typeddict(hint):
        return typing.Annotated[Any, pydantic.PlainValidator(functools.partial(judged, hint))]
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        return pydantic.InstanceOf[hint]  # an answer that is sent back: not one of ours
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin[closed(parts[0])]
    if origin is typing.Annotated:
        return closed(parts[0])
    if origin in (collections.abc.Iterable, collections.abc.Sequence, list):
        return list[closed(parts[0])]
    if origin is dict:
        return dict[parts[0], closed(parts[1])]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(closed(part) for part in parts)]
    return hint


def sent_as(name: str, hint: Any) -> str:
    """A field's name in JSON."""
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        return sent_as(name, typing.get_args(hint)[0])
    aliases = (getattr(told, "alias", None) for told in getattr(hint, "__metadata__", ()))
    return next((alias for alias in aliases if alias), name)


@functools.cache
def adapter(shape: Any) -> pydantic.TypeAdapter:
    hints = typing_extensions.get_type_hints(shape, include_extras=True)
    twin = typing_extensions.TypedDict(shape.__name__, {sent_as(name, hint): closed(hint) for name, hint in hints.items()}, total=shape.__total__)
    twin.__pydantic_config__ = SHUT
    return pydantic.TypeAdapter(twin)


def judged(shape: Any, body: Any) -> Any:
    return adapter(shape).validate_python(body)


class GoogleEmbedding(google.EmbedContentConfig):
    """One text: the client has a type for its settings, and adds these."""

    model: str | None = None
    content: google.Content


class GoogleChat(pydantic.BaseModel, extra="forbid"):
    """The client has types for all parts of a body, and none for the whole."""

    contents: list[google.Content]
    systemInstruction: google.Content | None = None
    generationConfig: google.GenerationConfig
    serviceTier: google.ServiceTier | None = None


class GoogleEmbeddings(pydantic.BaseModel, extra="forbid"):
    requests: list[GoogleEmbedding]


def model_judged(shape: type[pydantic.BaseModel], body: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a word that an enumeration does not have is told so alone
        return shape.model_validate_json(json.dumps(body), extra="forbid")


def of_schema(name: str) -> typing.Callable[[Any], Any]:
    """Of Vertex AI's discovery document."""
    return lambda body: discovery.document("aiplatform.v1").judge(f"GoogleCloudAiplatformV1{name}", body)


def claude_at_vertex(body: Any) -> None:
    """Anthropic's body, whose model stands in the path, with a version of its own."""
    assert body["anthropic_version"] == "vertex-2023-10-16" and "model" not in body
    rest = {name: part for name, part in body.items() if name != "anthropic_version"}
    judged(anthropic_chat.MessageCreateParamsNonStreaming, rest | {"model": "claude"})


def claude_at_bedrock(body: Any) -> None:
    """The same at Amazon, with the features that are not general yet in the body. The tier is said in a header."""
    assert body["anthropic_version"] == "bedrock-2023-05-31" and not {"model", "stream", "service_tier"} & set(body)
    assert all(isinstance(beta, str) for beta in body.get("anthropic_beta", []))
    rest = {name: part for name, part in body.items() if name not in ("anthropic_version", "anthropic_beta")}
    judged(anthropic_chat.MessageCreateParamsNonStreaming, rest | {"model": "claude"})


def of_shape(shape: Any) -> typing.Callable[[Any], Any]:
    if isinstance(shape, types.FunctionType):
        return shape
    judge = model_judged if isinstance(shape, type) and issubclass(shape, pydantic.BaseModel) else judged
    return functools.partial(judge, shape)


def xai_create(body: Any) -> None:
    """xAI's client speaks protocol buffers: what it knows of a batch is a message."""
    json_format.ParseDict(body, xai_batch.CreateBatchRequest())


def openai_judges(chat: Any) -> dict:
    return {"chat/completions": chat, "embeddings": openai_types.EmbeddingCreateParams, "moderations": openai_types.ModerationCreateParams}


# Fields that the client has no longer, and models of before take.
OLDER = dict.fromkeys(("claude-sonnet-4-5", "us.anthropic.claude-haiku-4-5-20251001-v1:0"), {"temperature", "top_p", "top_k"})
# What may hold anything: schemas, and what the client itself has no type for or reads in a way of its own.
OPEN = {"schema", "responseJsonSchema"}
UNTYPED = {"fireworks": {"json_schema"}, "mistral": {"content"}, "vertex": {"instances", "parameters"}}
REFUSALS = (pydantic.ValidationError, discovery.Refused, json_format.ParseError, Warning)

# By service and the end of the path.
JUDGES = {
    "anthropic": {"messages": anthropic_chat.MessageCreateParamsNonStreaming},
    "gemini": {":generateContent": GoogleChat, ":batchEmbedContents": GoogleEmbeddings},
    "openai": openai_judges(openai_chat.CompletionCreateParamsNonStreaming)
    | {"responses": openai_responses.ResponseCreateParamsNonStreaming, "decisions": openai_types.DecisionCreateParams, "images/generations": openai_images.ImageGenerateParamsNonStreaming},
    "azure": openai_judges(openai_chat.CompletionCreateParamsNonStreaming),
    "vertex": {
        "chat/completions": openai_chat.CompletionCreateParamsNonStreaming,
        ":generateContent": of_schema("GenerateContentRequest"),
        ":rawPredict": claude_at_vertex,
        ":predict": of_schema("PredictRequest"),
        ":embedContent": of_schema("EmbedContentRequest"),
        ":batchEmbedContents": of_schema("BatchEmbedContentsRequest"),
    },
    "bedrock": {"/invoke": claude_at_bedrock},
    "mistral": {"chat/completions": mistral_types.ChatCompletionRequest, "embeddings": mistral_types.EmbeddingRequest},
    "groq": {"chat/completions": groq_chat.CompletionCreateParams},
    "together": {"chat/completions": together_chat.CompletionCreateParamsNonStreaming, "embeddings": together_types.EmbeddingCreateParams},
    "fireworks": {"chat/completions": fireworks_chat.CompletionCreateParamsNonStreaming, "embeddings": openai_types.EmbeddingCreateParams},
}


def judge_of(sent: dict) -> typing.Callable[[Any], Any]:
    shape = next(shape for end, shape in JUDGES[sent["service"]].items() if sent["path"].removesuffix("#flex").endswith(end))
    # A line has one text, and calls have several.
    return of_shape(GoogleEmbedding if shape is GoogleEmbeddings and sent["lane"] == "batch" else shape)


def asked_in_line(service: str, line: dict) -> Any:
    """What a line of a batch asks, and nothing is around it that should not be."""
    if service == "anthropic":
        judged(anthropic_batch.Request, line)
        return line["params"]
    if service == "gemini":
        assert line.keys() == {"key", "request"}
        return line["request"]
    if service == "bedrock":
        assert line.keys() == {"recordId", "modelInput"}
        return line["modelInput"]
    if service == "vertex" and "request" in line:
        assert line.keys() <= {"custom_id", "key", "request"}
        return line["request"]
    assert line.keys() == {"custom_id", "body"} | ({"method", "url"} if service in ("openai", "azure", "groq", "vertex") else set())
    if service in ("mistral", "fireworks"):
        assert "model" not in line["body"]  # the job names it
        return line["body"] | {"model": "org/model"}
    return line["body"]


@pytest.mark.parametrize("service", JUDGES)
def test_every_field_goes_out_as_the_clients_types_have_it(service):
    rows = [row for row in outgoing() if row["service"] == service]
    wrong = {}
    for row in rows:
        if row["refused"] is None and row["field"] not in OLDER.get(row["model"], ()):
            try:
                judge_of(row)(row["body"])
                if row["line"] is not None:
                    judge_of(row)(asked_in_line(service, row["line"]))
            except (*REFUSALS, AssertionError) as error:
                wrong[" ".join(row[name] for name in ("model", "field", "lane", "path"))] = str(error)
    assert not wrong, json.dumps(wrong, indent=1)
    taken = {row["field"] for row in rows if row["refused"] is None}
    assert {"max_tokens", "system_prompt", "stop_sequences", "output_schema", "choices", "image"} <= taken
    assert taken | {row["field"] for row in rows if row["refused"]} == {row["field"] for row in outgoing()}


def places(body: Any, untold: set[str]) -> typing.Iterator[tuple]:
    """The paths of all objects in a body, but for what may hold anything."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    if isinstance(body, dict):
        yield ()
    for name, part in items:
        if name not in untold:
            yield from ((name, *rest) for rest in places(part, untold))


@pytest.mark.parametrize("service", JUDGES)
def test_a_field_that_does_not_exist_is_found_wherever_it_stands(service):
    planted = 0
    for row in outgoing():
        if row["service"] != service or row["refused"] is not None or row["lane"] != "sync":
            continue
        for place in places(row["body"], OPEN | UNTYPED.get(service, set())):
            body = copy.deepcopy(row["body"])
            functools.reduce(lambda part, name: part[name], place, body)["of_nobody"] = 1
            with pytest.raises(REFUSALS):
                judge_of(row)(body)
            planted += 1
    assert planted > 20


# What makes a batch: the service and its simulator, a model, the variables that lead there, and the shapes of what is posted, by the end of the path.
CREATES = {
    "openai": (["--speed", "7200"], "openai/gpt-6-luna", "OPENAI", "", {"/batches": openai_types.BatchCreateParams}),
    "mistral": (["--like", "mistral", "--speed", "7200"], "mistral/mistral-small-2603", "MISTRAL", "", {"/batch/jobs": mistral_types.CreateBatchJobRequestTypedDict}),
    "together": (["--like", "together", "--speed", "7200"], "together/openai/gpt-oss-120b", "TOGETHER", "", {"/batches": together_types.BatchCreateParams}),
    "fireworks": (
        ["--like", "fireworks", "--speed", "7200"],
        "fireworks/accounts/fireworks/models/gpt-oss-20b",
        "FIREWORKS",
        "/inference/v1",
        {"/datasets": fireworks_types.DatasetCreateParams, "/batchInferenceJobs": fireworks_types.BatchInferenceJobCreateParams},
    ),
    "openrouter": (["--like", "openrouter", "--speed", "7200"], "openrouter/openai/gpt-6-luna", "OPENROUTER", "", {"/batches": openrouter_types.BatchSubmitBodyTypedDict}),
    "xai": (["--like", "xai", "--speed", "7200"], "xai/grok-4.3", "XAI", "", {"/batches": xai_create}),
    "anthropic": (["--speed", "7200"], "anthropic/claude-sonnet-5-5", "ANTHROPIC", "", {"/messages/batches": anthropic_batch.BatchCreateParams}),
}


@pytest.mark.parametrize("service", CREATES)
def test_what_makes_a_batch_is_what_the_client_would_send(service, tmp_path):
    flags, model, variable, base, shapes = CREATES[service]
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{n},row {n}\n" for n in range(5)))
    if service == "openrouter":  # no list has its prices
        (tmp_path / "bulkrate.toml").write_text('[run]\nprice_in = "0.1"\nprice_out = "0.5"\n')
    with started(*flags, provider="anthropic" if service == "anthropic" else "openai") as sim, recorded(sim) as recorder:
        path = base or urllib.parse.urlsplit(sim.base_url).path
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), f"{variable}_API_KEY": "sk-test", f"{variable}_BASE_URL": recorder.url + path}
        command = [str(BINARY), "run", "rows.csv", "--id", "id", "--user", "{{ text }}", "--model", model, "--lane", "batch", "--poll-min", "50ms", "--poll-max", "200ms", "--budget", "5", "--yes", "--json", "--out", "out.csv"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    for end, shape in shapes.items():
        posted = [(path, body) for method, path, _, body in recorder.seen if method == "POST" and path.split("?")[0].endswith(end)]
        assert posted, [path for _, path, _, _ in recorder.seen]
        for path, body in posted:
            sent = json.loads(body) | dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
            of_shape(shape)(sent)
            with pytest.raises(REFUSALS):
                of_shape(shape)(sent | {"of_nobody": 1})
