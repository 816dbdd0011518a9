"""Google's own SDK judges the simulator: what it cannot parse or does not raise, we got wrong."""

from __future__ import annotations

import datetime
import functools
import json
import pathlib
import tempfile
import time

import pytest
from google import genai
from google.genai import errors, types

from conftest import started

MODEL = "gemini-3.8-flash"
OLD = "gemini-2.5-flash"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["billing", "delivery"]}},
    "required": ["label"],
}


@functools.cache
def client(sim, version: str = "v1") -> genai.Client:
    """Kept, as a client that nobody holds closes its connections under its own models."""
    return genai.Client(api_key="AIza-test", http_options=types.HttpOptions(base_url=sim.base_url, api_version=version))


def ask(sim, text: object = "Hello there", model: str = MODEL, **config: object) -> types.GenerateContentResponse:
    settings: dict = {"max_output_tokens": 2_000, "thinking_config": {"thinking_budget": 0} if model == OLD else {"thinking_level": "LOW"}}
    return client(sim).models.generate_content(model=model, contents=text, config=settings | config)


@pytest.fixture(scope="module")
def sim():
    with started("--speed", "7200", provider="gemini") as running:
        yield running


def strict(answer: types.GenerateContentResponse) -> types.GenerateContentResponseUsageMetadata:
    """The answer has no field that the SDK does not declare, and its usage adds up."""
    types.GenerateContentResponse.model_validate(answer.model_dump(mode="json", exclude={"sdk_http_response"}))
    usage = answer.usage_metadata
    parts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    assert usage.total_token_count == sum(part or 0 for part in parts)
    assert answer.response_id and answer.model_version
    return usage


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_an_answer(sim, version):
    config = types.GenerateContentConfig(system_instruction="Be brief.", stop_sequences=["END"], temperature=0.5, top_k=3, seed=1)
    answer = client(sim, version).models.generate_content(model=MODEL, contents="Hello there", config=config)
    usage = strict(answer)
    assert answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert (answer.candidates[0].content.role, answer.model_version) == ("model", MODEL)
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0 and usage.thoughts_token_count > 0


def test_structured_output_in_both_dialects_and_functions(sim):
    for name in ("response_json_schema", "response_schema"):
        answer = ask(sim, "My parcel is late", response_mime_type="application/json", **{name: SCHEMA})
        strict(answer)
        assert answer.text == '{"label":"delivery"}'
    declared = {"name": "label", "description": "x", "parameters_json_schema": SCHEMA}
    config = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["label"]}}
    answer = ask(sim, tools=[{"function_declarations": [declared]}], tool_config=config, automatic_function_calling={"disable": True})
    strict(answer)
    assert [call.name for call in answer.function_calls] == ["label"] and set(answer.function_calls[0].args) == {"label"}


def test_images_files_and_turns(sim):
    image = types.Part.from_bytes(data=b"\x00\x01", mime_type="image/png")
    turns = [
        types.Content(role="user", parts=[types.Part.from_text(text="Look"), image]),
        types.Content(role="model", parts=[types.Part.from_text(text="A cat.")]),
        types.Content(role="user", parts=[types.Part.from_text(text="Sure?")]),
    ]
    assert ask(sim, turns).text
    with pytest.raises(errors.ClientError) as raised:
        ask(sim, [types.Part.from_bytes(data=b"\x00", mime_type="image/gif")])
    assert raised.value.code == 400


def test_thinking_is_billed_beside_the_answer_and_may_leave_nothing_of_it(sim):
    before = sim.page("bill")["total_usd_nanos"]
    usage = strict(ask(sim, model=OLD))
    assert usage.thoughts_token_count is None
    # 0.3 and 2.5 USD a million.
    nanos = usage.prompt_token_count * 300 + usage.candidates_token_count * 2_500
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    cut = ask(sim, model=OLD, max_output_tokens=20, thinking_config={"thinking_budget": 2_000})
    usage = strict(cut)
    assert (cut.text, cut.candidates[0].content, cut.candidates[0].finish_reason) == (None, None, types.FinishReason.MAX_TOKENS)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (None, 20)


def test_models(sim):
    listed = {model.name: model for model in client(sim).models.list(config={"page_size": 5})}
    assert f"models/{MODEL}" in listed and len(listed) > 5
    assert client(sim).models.get(model=MODEL).output_token_limit == listed[f"models/{MODEL}"].output_token_limit > 0


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"model": "gemini-nobody"}, 404, "NOT_FOUND"),
        ({"max_output_tokens": 10**6}, 400, "INVALID_ARGUMENT"),
        ({"candidate_count": 2}, 400, "INVALID_ARGUMENT"),
        ({"model": OLD, "thinking_config": {"thinking_level": "LOW"}}, 400, "INVALID_ARGUMENT"),
        ({"model": "gemini-2.5-pro", "thinking_config": {"thinking_budget": 0}}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_refusals(sim, fields, code, status):
    with pytest.raises(errors.ClientError) as raised:
        ask(sim, **fields)
    assert (raised.value.code, raised.value.status) == (code, status)


def test_keys():
    with started("--api-key", "AIza-right", provider="gemini") as sim, pytest.raises(errors.ClientError) as raised:
        ask(sim)
    assert raised.value.code == 400 and raised.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        ("429@1", 429, errors.ClientError),
        ("insufficient-quota@1", 429, errors.ClientError),
        ("5xx=503@1", 503, errors.ServerError),
        ("5xx=500@1", 500, errors.ServerError),
    ],
)
def test_faults_are_raised(fault, code, kind):
    with started("--fault", fault, provider="gemini") as sim:
        with pytest.raises(kind) as raised:
            ask(sim)
        assert raised.value.code == code
        if fault == "429@1":
            kinds = [detail["@type"].rsplit(".", 1)[1] for detail in raised.value.details["error"]["details"]]
            assert kinds == ["QuotaFailure", "Help", "RetryInfo"]
        ask(sim)


def test_what_is_blocked_says_why():
    with started("--fault", "refusal", provider="gemini") as sim:
        reasons = set()
        for n in range(12):
            answer = ask(sim, f"Hello {n}")
            strict(answer)
            assert answer.text is None
            reasons.add(str(answer.candidates[0].finish_reason if answer.candidates else answer.prompt_feedback.block_reason))
        assert reasons == {"FinishReason.SAFETY", "BlockedReason.PROHIBITED_CONTENT"}


def line(key: str, **config: object) -> dict:
    settings = {"maxOutputTokens": 64, "thinkingConfig": {"thinkingLevel": "MINIMAL"}} | config
    return {"key": key, "request": {"contents": [{"role": "user", "parts": [{"text": f"Hi {key}"}]}], "generationConfig": settings}}


def uploaded(api: genai.Client, folder, lines: list[object]) -> types.File:
    path = folder / "input.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return api.files.upload(file=str(path), config={"display_name": "input", "mime_type": "jsonl"})


def ended(api: genai.Client, name: str) -> types.BatchJob:
    deadline = time.monotonic() + 30
    while not (found := api.batches.get(name=name)).done:
        assert found.state in (types.JobState.JOB_STATE_PENDING, types.JobState.JOB_STATE_RUNNING) and found.dest is None
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


VECTORS = "gemini-embedding-001"


def test_vectors(sim):
    before = sim.page("bill")["total_usd_nanos"]
    found = client(sim).models.embed_content(model=VECTORS, contents=["my parcel is late", "the parcel is late"], config={"output_dimensionality": 64, "task_type": "CLUSTERING"})
    one, two = (vector.values for vector in found.embeddings)
    assert len(one) == len(two) == 64 and sum(a * b for a, b in zip(one, two)) > 0.5
    assert sim.page("bill")["total_usd_nanos"] - before == (5 + 5) * 150
    with pytest.raises(errors.ClientError) as raised:
        client(sim).models.embed_content(model=VECTORS, contents="x", config={"output_dimensionality": 10_000})
    assert raised.value.code == 400


def test_a_batch_of_vectors(sim, tmp_path):
    api = client(sim)
    lines = [{"key": f"item-{n}", "request": {"content": {"parts": [{"text": f"Hi {n}"}]}, "outputDimensionality": 8}} for n in range(5)]
    file = uploaded(api, tmp_path, lines)
    before = sim.page("bill")["total_usd_nanos"]
    created = api.batches.create_embeddings(model=VECTORS, src={"file_name": file.name}, config={"display_name": "vectors"})
    done = ended(api, created.name)
    assert done.state == types.JobState.JOB_STATE_SUCCEEDED
    results = [json.loads(text) for text in api.files.download(file=done.dest.file_name).splitlines()]
    assert sorted(result["key"] for result in results) == [line["key"] for line in lines]
    for result in results:
        answer = types.SingleEmbedContentResponse.model_validate(result["response"])
        assert len(answer.embedding.values) == 8 and answer.token_count == 1
    # Half of 0.15 USD a million.
    assert sim.page("bill")["total_usd_nanos"] - before == 5 * 75


def test_a_file_in_pieces_and_its_end(sim, tmp_path):
    api = client(sim)
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"x" * (9 << 20))  # the SDK sends 8 MiB at once
    file = api.files.upload(file=str(path), config={"display_name": "large", "mime_type": "application/jsonl"})
    assert (file.size_bytes, file.display_name, file.state) == (9 << 20, "large", types.FileState.ACTIVE)
    assert file.expiration_time - file.create_time == datetime.timedelta(hours=48)
    assert api.files.get(name=file.name).name == file.name
    with pytest.raises(errors.ClientError):
        api.files.download(file=file.name)
    api.files.delete(name=file.name)
    with pytest.raises(errors.ClientError) as raised:
        api.files.get(name=file.name)
    assert (raised.value.code, raised.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_batch_from_its_create_to_its_deletion(sim, tmp_path, version):
    api = client(sim, version)
    lines = [line(f"item-{n}") for n in range(30)]
    lines[7]["request"]["generationConfig"]["maxOutputTokens"] = 10**6
    file = uploaded(api, tmp_path, lines)
    before = sim.page("bill")["total_usd_nanos"]
    created = api.batches.create(model=MODEL, src=file.name, config={"display_name": "job 1"})
    assert (created.display_name, created.model, created.state) == ("job 1", f"models/{MODEL}", types.JobState.JOB_STATE_PENDING)
    done = ended(api, created.name)
    assert done.state == types.JobState.JOB_STATE_SUCCEEDED and done.end_time >= done.create_time
    results = [json.loads(text) for text in api.files.download(file=done.dest.file_name).splitlines()]
    assert sorted(result["key"] for result in results) == sorted(line["key"] for line in lines)
    by_key = {result["key"]: result for result in results}
    error = by_key.pop("item-7")["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    nanos = 0
    for result in by_key.values():
        answer = types.GenerateContentResponse.model_validate(result["response"])
        usage = strict(answer)
        assert answer.text and usage.thoughts_token_count is None
        # Half of 0.75 and 3.75 USD a million, rounded up for each request.
        nanos += -(-(usage.prompt_token_count * 375_000 + usage.candidates_token_count * 1_875_000) // 1_000)
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    api.batches.delete(name=created.name)
    with pytest.raises(errors.ClientError) as raised:
        api.batches.get(name=created.name)
    assert raised.value.code == 404


def test_lists_are_paged_and_carry_the_names():
    with started("--speed", "7200", provider="gemini") as sim, tempfile.TemporaryDirectory() as folder:
        api = client(sim)
        file = uploaded(api, pathlib.Path(folder), [line("a")])
        made = [api.batches.create(model=MODEL, src=file.name, config={"display_name": f"job {n}"}).name for n in range(7)]
        listed = list(api.batches.list(config={"page_size": 3}))
        assert [(job.name, job.display_name) for job in listed] == [(name, f"job {n}") for n, name in reversed(list(enumerate(made)))]


def test_what_is_refused_at_once_and_what_later(sim, tmp_path):
    api = client(sim)
    with pytest.raises(errors.ClientError) as raised:
        api.batches.create(model=MODEL, src="files/none")
    assert (raised.value.code, raised.value.status) == (403, "PERMISSION_DENIED")
    file = uploaded(api, tmp_path, [line("a")])
    with pytest.raises(errors.ClientError) as raised:
        api.batches.create(model="gemini-nobody", src=file.name)
    assert raised.value.code == 404
    broken = uploaded(api, tmp_path, [line("a"), "{\n"])
    done = ended(api, api.batches.create(model=MODEL, src=broken.name).name)
    assert (done.state, done.dest) == (types.JobState.JOB_STATE_FAILED, None)


@pytest.mark.parametrize(("fault", "state"), [("expire", "JOB_STATE_EXPIRED"), ("", "JOB_STATE_CANCELLED")])
def test_what_does_not_come_to_its_end_has_nothing_to_show(fault, state, tmp_path):
    flags = ["--fault", fault] if fault else ["--speed", "600"]
    with started(*flags, provider="gemini") as sim:
        api = client(sim)
        file = uploaded(api, tmp_path, [line(f"item-{n}") for n in range(50)])
        job = api.batches.create(model=MODEL, src=file.name)
        if not fault:
            time.sleep(0.3)
            api.batches.cancel(name=job.name)
        done = ended(api, job.name)
        assert (done.state.name, done.dest) == (state, None)
        # What a cancelled batch finished is paid all the same.
        assert (sim.page("bill")["requests_batch"] > 0) == (not fault)


def test_a_full_queue_is_a_rate_limit(tmp_path):
    with started("--enqueued-tokens", "100", "--speed", "60", provider="gemini") as sim:
        api = client(sim)
        file = uploaded(api, tmp_path, [line(f"item-{n}") for n in range(9)])
        api.batches.create(model=MODEL, src=file.name)
        with pytest.raises(errors.ClientError) as raised:
            api.batches.create(model=MODEL, src=file.name)
        assert (raised.value.code, raised.value.status) == (429, "RESOURCE_EXHAUSTED")
