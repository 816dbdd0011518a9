"""The official OpenAI SDK judges the simulator: what it cannot parse or does not raise, we got wrong."""

from __future__ import annotations

import base64
import json
import math
import time

import openai
import pytest
from conftest import started

MODEL = "gpt-6-luna"
ENDED = {"completed", "failed", "expired", "cancelled"}


def line(custom_id: str, text: str, model: str = MODEL, url: str = "/v1/chat/completions", **body: object) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": text}]} | body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def upload(client: openai.OpenAI, lines: list[dict], name: str = "in.jsonl") -> openai.types.FileObject:
    data = "".join(json.dumps(entry) + "\n" for entry in lines).encode()
    return client.files.create(file=(name, data), purpose="batch")


def submit(client: openai.OpenAI, lines: list[dict], endpoint: str = "/v1/chat/completions", **options: object) -> openai.types.Batch:
    file = upload(client, lines)
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)


def ended(client: openai.OpenAI, batch: openai.types.Batch, limit_s: float = 20.0) -> openai.types.Batch:
    deadline = time.monotonic() + limit_s
    while batch.status not in ENDED:
        assert time.monotonic() < deadline, f"still {batch.status}"
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


def parsed(client: openai.OpenAI, file_id: str | None) -> dict[str, dict]:
    assert file_id
    rows = [json.loads(row) for row in client.files.content(file_id).text.splitlines()]
    return {row["custom_id"]: row for row in rows}


# Files


def test_file_round_trip(client):
    file = upload(client, [line("a", "hello")], "shard-1.jsonl")
    assert (file.object, file.purpose, file.filename, file.status) == ("file", "batch", "shard-1.jsonl", "processed")
    assert file.expires_at - file.created_at == 30 * 86_400
    assert client.files.retrieve(file.id).id == file.id
    content = client.files.content(file.id).read()
    assert len(content) == file.bytes and json.loads(content)["custom_id"] == "a"
    assert client.files.delete(file.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_files_are_listed_newest_first_in_pages(sim_with):
    client = sim_with().client()
    made = [upload(client, [line("a", str(n))]).id for n in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(order="asc")] == made
    assert list(client.files.list(purpose="vision")) == []


@pytest.mark.parametrize(("name", "data"), [("in.txt", b"{}\n"), ("in.jsonl", b""), ("in.jsonl", b"not json\n{}\n")])
def test_uploads_are_sniffed(client, name, data):
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=(name, data), purpose="batch")
    assert refused.value.type == "invalid_request_error"


def test_later_bad_lines_pass_the_upload(client):
    assert client.files.create(file=("in.jsonl", b"{}\nnot json\n"), purpose="batch").id.startswith("file-")


# Batches


def test_batch_from_create_to_results(client):
    lines = [line(f"i-{n}", f"Classify the ticket: my parcel {n} is late", max_completion_tokens=64) for n in range(200)]
    lines.append(line("bad", "hi", max_tokens=5))
    batch = submit(client, lines, metadata={"br_sub": "s1"})
    assert batch.status == "validating" and batch.request_counts.total == 0
    assert batch.expires_at - batch.created_at == 86_400
    batch = ended(client, batch)
    assert batch.status == "completed" and batch.metadata == {"br_sub": "s1"} and batch.errors is None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (201, 200, 1)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    output, errors = parsed(client, batch.output_file_id), parsed(client, batch.error_file_id)
    assert set(output) == {f"i-{n}" for n in range(200)} and set(errors) == {"bad"}
    tokens = 0
    for row in output.values():
        assert row["error"] is None and row["response"]["status_code"] == 200
        answer = openai.types.chat.ChatCompletion.model_validate(row["response"]["body"])
        assert answer.choices[0].message.content == "delivery"
        tokens += answer.usage.total_tokens
    assert batch.usage.total_tokens == tokens
    failure = errors["bad"]
    assert failure["error"] is None and failure["response"]["status_code"] == 400
    assert failure["response"]["body"]["error"]["code"] == "unsupported_parameter"
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    assert client.files.retrieve(batch.output_file_id).bytes == len(client.files.content(batch.output_file_id).read())
    assert list(output) != [f"i-{n}" for n in range(200)], "output should not keep the order of the input"


@pytest.mark.parametrize(
    ("spoilt", "code", "number"),
    [
        (line("a", "twice"), "duplicate_custom_id", 2),
        (line("b", "x", url="/v1/responses"), "invalid_url", 2),
        (line("b", "x", model="gpt-6-sol"), "mismatched_model", 2),
        (line("b", "x", stream=True), "streaming_unsupported", 2),
        ({"custom_id": "b", "url": "/v1/chat/completions", "body": {"model": MODEL, "messages": []}}, "missing_required_parameter", 2),
    ],
)
def test_one_bad_line_fails_the_file(client, spoilt, code, number):
    batch = ended(client, submit(client, [line("a", "good"), spoilt]))
    assert batch.status == "failed" and batch.failed_at and batch.output_file_id is None
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, number)
    assert batch.request_counts.total == 0


def test_unknown_model_fails_the_batch(client):
    batch = ended(client, submit(client, [line("a", "x", model="gpt-99")]))
    assert batch.errors.data[0].code == "model_not_found"


def test_create_errors(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id="file-nope", endpoint="/v1/chat/completions", completion_window="24h")
    assert refused.value.param == "file_id"
    file = upload(client, [line("a", "x")])
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint="/v1/nope", completion_window="24h")
    assert (refused.value.code, refused.value.param) == ("invalid_value", "endpoint")
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"tags": 5})
    assert (refused.value.code, refused.value.param) == ("invalid_type", "metadata.tags")
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        client.batches.retrieve("batch_nope")


def test_batches_are_listed_newest_first_in_pages(sim_with):
    client = sim_with("--speed", "60").client()
    made = [submit(client, [line("a", "x")], metadata={"n": str(n)}).id for n in range(5)]
    page = client.batches.list(limit=2)
    assert page.has_more and [batch.id for batch in page.data] == made[:-3:-1]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]


def test_cancel_leaves_partial_results(sim_with):
    sim = sim_with("--speed", "600", "--run-secs", "600")
    client = sim.client()
    batch = submit(client, [line(f"i-{n}", f"hello {n}") for n in range(1_000)])
    while client.batches.retrieve(batch.id).request_counts.completed < 100:
        time.sleep(0.01)
    batch = client.batches.cancel(batch.id)
    assert batch.status == "cancelling" and batch.cancelling_at
    batch = ended(client, batch)
    assert batch.status == "cancelled" and batch.cancelled_at
    output, errors = parsed(client, batch.output_file_id), parsed(client, batch.error_file_id)
    assert len(output) == batch.request_counts.completed >= 100 and len(output) + len(errors) == 1_000
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
    assert sim.page("bill")["requests"] == len(output)
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_completed_batches_cannot_be_cancelled(client):
    batch = ended(client, submit(client, [line("a", "x")]))
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        client.batches.cancel(batch.id)


def test_enqueued_token_limit_refuses_later(sim_with):
    client = sim_with("--enqueued-tokens", "100", "--speed", "600").client()
    first = submit(client, [line("a", "x" * 240)])
    second = ended(client, submit(client, [line("a", "y" * 240)]))
    assert second.status == "failed" and second.errors.data[0].code == "token_limit_exceeded"
    assert "Limit: 100 enqueued tokens" in second.errors.data[0].message
    assert ended(client, first).status == "completed"
    assert ended(client, submit(client, [line("a", "y" * 240)])).status == "completed"


def test_expiry_keeps_what_ran(sim_with):
    client = sim_with("--fault", "expire=0.3").client()
    batch = ended(client, submit(client, [line(f"i-{n}", "hello") for n in range(10)]))
    assert batch.status == "expired" and batch.expired_at
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (10, 3, 0)
    assert len(parsed(client, batch.output_file_id)) == 3
    assert {row["error"]["code"] for row in parsed(client, batch.error_file_id).values()} == {"batch_expired"}


@pytest.mark.parametrize(
    ("endpoint", "model", "body"),
    [
        ("/v1/responses", MODEL, {"input": "hello"}),
        ("/v1/embeddings", "text-embedding-3-small", {"input": ["a", "b"], "dimensions": 8}),
        ("/v1/moderations", "omni-moderation-latest", {"input": "hello"}),
    ],
)
def test_batches_of_other_endpoints(client, endpoint, model, body):
    entry = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": model} | body}
    batch = ended(client, submit(client, [entry], endpoint))
    assert batch.status == "completed", batch.errors
    assert parsed(client, batch.output_file_id)["a"]["response"]["status_code"] == 200


# Sync calls


def test_chat(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "developer", "content": "Answer with one of: refund, replace, ignore."}, {"role": "user", "content": "Please refund me"}],
        max_completion_tokens=16,
        metadata={"run": "r1"},
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "refund" and answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL and answer.service_tier == "default"
    # Four bytes a token, rounded up, and four tokens a message.
    assert answer.usage.prompt_tokens == math.ceil((44 + 16) / 4) + 8
    assert raw.headers["x-request-id"].startswith("req_") and "openai-processing-ms" in raw.headers
    assert "x-ratelimit-limit-requests" not in raw.headers


def test_structured_output(client):
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": ["billing", "delivery"]}, "score": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["label", "score"],
        "additionalProperties": False,
    }

    def ask(schema: dict):
        form = {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": schema}}
        return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "charged twice on my invoice"}], response_format=form)

    found = json.loads(ask(schema).choices[0].message.content)
    assert found["label"] == "billing" and 1 <= found["score"] <= 5 and set(found) == {"label", "score"}
    with pytest.raises(openai.BadRequestError) as refused:
        ask(schema | {"required": ["label"]})
    assert refused.value.code == "invalid_json_schema"


def test_length(client):
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 30}], max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


def test_reasoning_eats_the_budget(client):
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], max_completion_tokens=64, reasoning_effort="low")
    assert answer.choices[0].message.content == "" and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens_details.reasoning_tokens == 64


def test_responses(client):
    answer = client.responses.create(model=MODEL, instructions="Give the sentiment.", input="I love it", store=False, metadata={"a": "b"})
    assert answer.status == "completed" and answer.output_text == "positive"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.metadata == {"a": "b"}
    cut = client.responses.create(model=MODEL, input="word " * 60, max_output_tokens=16)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="x", max_output_tokens=5)


def test_embeddings(client):
    # The SDK asks for base64 by default and decodes it.
    packed = client.embeddings.create(model="text-embedding-3-small", input=["late parcel", "late parcels"], dimensions=64)
    floats = client.embeddings.create(model="text-embedding-3-small", input="late parcel", dimensions=64, encoding_format="float")
    assert [row.index for row in packed.data] == [0, 1]
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert math.isclose(sum(x * x for x in packed.data[0].embedding), 1.0, rel_tol=1e-4)
    assert len(client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding) == 1536
    assert floats.usage.prompt_tokens == 3
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="text-embedding-3-small", input="")


def test_moderations(client):
    results = client.moderations.create(model="omni-moderation-latest", input=["have a nice day", "I will kill you"]).results
    assert [result.flagged for result in results] == [False, True]
    assert results[1].categories.violence and results[1].category_scores.violence > 0.8


def test_pictures():
    with started("--any-model") as sim, openai.OpenAI(base_url=sim.base_url, api_key="sk-test", max_retries=0) as client:
        made = client.images.generate(model="gpt-image-2.5-flare", prompt="a cat", quality="low", output_format="webp", size="1024x1536")
        assert base64.b64decode(made.data[0].b64_json)[8:12] == b"WEBP"
        assert (made.quality, made.size, made.output_format) == ("low", "1024x1536", "webp")
        assert (made.usage.output_tokens, made.usage.input_tokens_details.image_tokens) == (408, 0)
        with pytest.raises(openai.BadRequestError):
            client.images.generate(model="gpt-image-2.5-flare", prompt="a cat", size="3x3")


def test_decisions(client):
    question = {"type": "choice", "name": "subject", "instructions": "Sort the ticket.", "choices": [{"value": "billing"}, {"value": "delivery"}]}
    said = client.decisions.create(model=MODEL, input="My parcel is late", questions=[question])
    [answer] = said.answers
    assert (answer.type, answer.name, answer.choice) == ("choice", "subject", "delivery")
    assert {one.value for one in answer.probabilities} == {"billing", "delivery"} and answer.confidence > 0.5
    assert abs(sum(one.probability for one in answer.probabilities) - 1) < 1e-5
    assert said.usage.input_tokens > 0 and said.usage.total_tokens == said.usage.input_tokens + said.usage.output_tokens
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "Where is my bill?"}]}]
    assert client.decisions.create(model=MODEL, input=turns, questions=[question]).answers[0].type == "choice"
    with pytest.raises(openai.BadRequestError):
        client.decisions.create(model=MODEL, input="x", questions=[])


def test_models(client):
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).id == MODEL


def test_flex_costs_half(sim_with):
    sim = sim_with("--cost-header", "x-cost")
    messages = [{"role": "user", "content": "word " * 100}]
    costs = []
    for tier in ("default", "flex"):
        raw = sim.client().chat.completions.with_raw_response.create(model=MODEL, messages=messages, service_tier=tier)
        assert raw.parse().service_tier == tier
        costs.append(raw.headers["x-cost"])
    bill = sim.page("bill")
    assert bill["sync"] == 2 * bill["flex"] > 0 and bill["total_usd_nanos"] == bill["sync"] + bill["flex"]
    assert [round(float(cost) * 1e9) for cost in costs] == [bill["sync"], bill["flex"]]


# Errors


def test_wrong_key(sim_with):
    sim = sim_with("--api-key", "sk-right")
    with pytest.raises(openai.AuthenticationError) as refused:
        sim.client(api_key="sk-wrong").models.list()
    assert refused.value.code == "invalid_api_key"
    assert sim.client(api_key="sk-right").models.list().data


@pytest.mark.parametrize("model", ["gpt-99", "gpt-4.1-nano", "o1"])
def test_unknown_and_retired_models(client, model):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"messages": []}, "empty_array", "messages"),
        ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
        ({"stop": ["x"]}, "unsupported_parameter", "stop"),
        ({"temperature": 0.2, "reasoning_effort": "low"}, "unsupported_value", "temperature"),
        ({"temperature": 9}, "decimal_above_max_value", "temperature"),
        ({"reasoning_effort": "extreme"}, "unsupported_value", "reasoning_effort"),
        ({"extra_body": {"nonsense": 1}}, "unknown_parameter", "nonsense"),
        ({"extra_body": {"max_completion_tokens": "5"}}, "invalid_type", "max_completion_tokens"),
        ({"response_format": {"type": "json_object"}}, None, "messages"),
    ],
)
def test_bad_requests(client, options, code, param):
    call = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]} | options
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**call)
    assert (refused.value.code, refused.value.param, refused.value.type) == (code, param, "invalid_request_error")


def test_rate_limit(sim_with):
    client = sim_with("--rpm", "60").client()
    call = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    raw = client.chat.completions.with_raw_response.create(**call)
    assert (raw.headers["x-ratelimit-limit-requests"], raw.headers["x-ratelimit-remaining-requests"]) == ("60", "0")
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**call)
    assert refused.value.code == "rate_limit_exceeded"
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 1_000
    # The SDK's own retry follows the header and succeeds.
    assert client.with_options(max_retries=2).chat.completions.create(**call).choices


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429", openai.RateLimitError),
        ("insufficient-quota", openai.RateLimitError),
        ("5xx", openai.InternalServerError),
        ("overloaded", openai.InternalServerError),
        ("reset", openai.APIConnectionError),
        ("truncated-body", openai.APIConnectionError),
    ],
)
def test_faults_of_sync_calls(sim_with, fault, error):
    sim = sim_with("--fault", f"{fault}@1")
    call = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(error):
        sim.client().chat.completions.create(**call)
    billed = sim.page("bill")["requests"]
    assert billed == (1 if fault in ("reset", "truncated-body") else 0)
    assert sim.client().chat.completions.create(**call).choices


def test_a_lost_create_still_runs(sim_with):
    sim = sim_with("--fault", "F21@1")
    client = sim.client()
    with pytest.raises(openai.APIConnectionError):
        submit(client, [line("a", "x")], metadata={"br_sub": "s9"})
    (found,) = [batch for batch in client.batches.list() if batch.metadata == {"br_sub": "s9"}]
    assert ended(client, found).status == "completed"
    assert sim.page("bill")["requests_batch"] == 1
