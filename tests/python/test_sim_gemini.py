"""Google's own SDK judges the simulator: what it cannot parse or does not raise, we got wrong."""

from __future__ import annotations

import functools

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
