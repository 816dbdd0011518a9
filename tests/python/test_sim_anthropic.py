"""The official Anthropic SDK judges the simulator: what it cannot parse or does not raise, we got wrong."""

from __future__ import annotations

import anthropic
import pytest

from conftest import started

MODEL = "claude-haiku-5-5"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["billing", "delivery"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def client(sim, **options: object) -> anthropic.Anthropic:
    settings: dict = {"api_key": "sk-ant-test", "base_url": sim.base_url, "max_retries": 0, "timeout": 30.0}
    return anthropic.Anthropic(**(settings | options))


def ask(sim, text: str = "Hello there", **fields: object) -> anthropic.types.Message:
    call: dict = {"model": MODEL, "max_tokens": 512, "messages": [{"role": "user", "content": text}]}
    return client(sim).messages.create(**(call | fields))


@pytest.fixture(scope="module")
def sim():
    with started("--speed", "7200", provider="anthropic") as running:
        yield running


def strict(message: anthropic.types.Message) -> None:
    """The answer has exactly the shape that the SDK declares."""
    checked = anthropic.types.Message.model_validate(message.model_dump(mode="json"))
    unknown = set(message.model_dump()) - set(anthropic.types.Message.model_fields)
    assert checked.id.startswith("msg_") and not unknown, unknown
    assert not set(message.usage.model_dump()) - set(anthropic.types.Usage.model_fields)


def test_a_message(sim):
    message = ask(sim, system="Be brief.", stop_sequences=["END"])
    strict(message)
    assert (message.type, message.role, message.stop_reason, message.model) == ("message", "assistant", "end_turn", MODEL)
    assert message.content[0].type == "text" and message.content[0].text
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_structured_output_thinking_and_tools(sim):
    message = ask(
        sim,
        "My parcel is late",
        thinking={"type": "adaptive"},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    )
    strict(message)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[1].text == '{"label":"delivery"}'
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    message = ask(sim, tools=[{"name": "label", "input_schema": SCHEMA}], tool_choice={"type": "tool", "name": "label"})
    strict(message)
    assert message.stop_reason == "tool_use" and set(message.content[0].input) == {"label"}


def test_the_prompt_cache_is_written_and_read(sim):
    system = [{"type": "text", "text": "word " * 2_000, "cache_control": {"type": "ephemeral"}}]
    first, second = ask(sim, system=system).usage, ask(sim, system=system).usage
    assert first.cache_creation.ephemeral_5m_input_tokens == first.cache_creation_input_tokens > 1_024
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0


def test_models(sim):
    page = client(sim).models.list()
    assert MODEL in [model.id for model in page.data]
    assert client(sim).models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize(
    ("fields", "error", "status"),
    [
        ({"model": "claude-nobody"}, anthropic.NotFoundError, 404),
        ({"max_tokens": 10**9}, anthropic.BadRequestError, 400),
        ({"extra_body": {"temperature": 0.5}}, anthropic.BadRequestError, 400),
        ({"extra_body": {"seed": 1}}, anthropic.BadRequestError, 400),
    ],
)
def test_refusals(sim, fields, error, status):
    with pytest.raises(error) as raised:
        ask(sim, **fields)
    assert raised.value.status_code == status
    assert raised.value.body["type"] == "error" and raised.value.request_id == raised.value.body["request_id"]


def test_keys():
    with started("--api-key", "sk-ant-right", provider="anthropic") as sim, pytest.raises(anthropic.AuthenticationError):
        ask(sim)


@pytest.mark.parametrize(
    ("fault", "status"), [("429@1", 429), ("5xx=503@1", 529), ("5xx=500@1", 500), ("insufficient-quota@1", 429)]
)
def test_faults_are_retried_or_raised(fault, status):
    with started("--fault", fault, provider="anthropic") as sim:
        with pytest.raises(anthropic.APIStatusError) as raised:
            ask(sim)
        assert raised.value.status_code == status
        ask(sim)
