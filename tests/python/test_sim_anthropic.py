"""The official Anthropic SDK judges the simulator: what it cannot parse or does not raise, we got wrong."""

from __future__ import annotations

import collections
import datetime
import time

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


def test_each_version_and_betas():
    call: dict = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
    sampled = call | {"model": "claude-haiku-4-5", "extra_body": {"temperature": 0.5}}
    for version, samples in (("2023-06-01", True), ("2026-10-21", False)):
        with started("--speed", "7200", provider="anthropic") as sim:
            api = client(sim, default_headers={"anthropic-version": version})
            strict(api.messages.create(**call))
            assert ended(api, api.messages.batches.create(requests=requests(2)).id).request_counts.succeeded == 2
            # The newer one knows no sampling parameters, whatever the model.
            if samples:
                strict(api.messages.create(**sampled))
            else:
                with pytest.raises(anthropic.BadRequestError, match="temperature: Extra inputs"):
                    api.messages.create(**sampled)
            versions = sim.page("requests")["headers"]["anthropic-version"]
            assert set(versions["POST /v1/messages/batches"]) == set(versions["POST /v1/messages"]) == {version}
            for betas in (["output-300k-2026-03-24"], ["context-1m-2025-08-07", "files-api-2025-04-14"]):
                assert api.beta.messages.create(**call, betas=betas).content
            with pytest.raises(anthropic.BadRequestError, match="Unexpected value.*`of-tomorrow-2027-01-01`"):
                api.beta.messages.create(**call, betas=["files-api-2025-04-14", "of-tomorrow-2027-01-01"])


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


def requests(count: int, **fields: object) -> list[dict]:
    params: dict = {"model": MODEL, "max_tokens": 64}
    return [
        {"custom_id": f"item-{n}", "params": params | {"messages": [{"role": "user", "content": f"Hi {n}"}]} | fields}
        for n in range(count)
    ]


def plain(batch: anthropic.types.messages.MessageBatch) -> None:
    """The batch has exactly the shape that the SDK declares."""
    checked = anthropic.types.messages.MessageBatch.model_validate(batch.model_dump(mode="json"))
    unknown = set(batch.model_dump()) - set(anthropic.types.messages.MessageBatch.model_fields)
    assert checked.id.startswith("msgbatch_") and not unknown, unknown
    assert not set(batch.request_counts.model_dump()) - set(type(batch.request_counts).model_fields)


def ended(api: anthropic.Anthropic, batch: str) -> anthropic.types.messages.MessageBatch:
    deadline = time.monotonic() + 30
    while (found := api.messages.batches.retrieve(batch)).processing_status != "ended":
        plain(found)
        assert found.results_url is None and found.request_counts.succeeded == 0
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_batch_from_its_create_to_its_deletion(sim):
    api = client(sim)
    orders = requests(30)
    orders[7]["params"]["max_tokens"] = 10**9
    orders[8]["params"]["betas"] = ["context-1m-2025-08-07"]
    before = sim.page("bill")["total_usd_nanos"]
    created = api.messages.batches.create(requests=orders)
    plain(created)
    assert (created.processing_status, created.request_counts.processing) == ("in_progress", 30)
    assert created.expires_at - created.created_at == datetime.timedelta(hours=24)
    done = ended(api, created.id)
    plain(done)
    counts = done.request_counts
    assert (counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired) == (0, 28, 2, 0, 0)
    assert done.ended_at and done.archived_at is None and done.cancel_initiated_at is None
    lines = list(api.messages.batches.results(created.id))
    assert sorted(line.custom_id for line in lines) == sorted(order["custom_id"] for order in orders)
    assert [line.custom_id for line in lines] != [order["custom_id"] for order in orders], "they come in any order"
    by_id = {line.custom_id: line.result for line in lines}
    for wrong in ("item-7", "item-8"):
        assert by_id[wrong].type == "errored" and by_id[wrong].error.error.type == "invalid_request_error"
    answered = [result.message for result in by_id.values() if result.type == "succeeded"]
    for message in answered:
        strict(message)
        assert message.usage.service_tier == "batch"
    # Half of 0.1 and 0.5 USD a million, rounded up for each request.
    nanos = sum(message.usage.input_tokens * 50 + message.usage.output_tokens * 250 for message in answered)
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    deleted = api.messages.batches.delete(created.id)
    assert (deleted.id, deleted.type) == (created.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        api.messages.batches.retrieve(created.id)


def test_lists_are_paged_newest_first():
    with started("--speed", "7200", provider="anthropic") as sim:
        api = client(sim)
        made = [api.messages.batches.create(requests=requests(1)).id for _ in range(7)]
        listed = list(api.messages.batches.list(limit=3))
        assert [batch.id for batch in listed] == made[::-1]
        page = api.messages.batches.list(limit=2, before_id=made[2])
        assert [batch.id for batch in page.data] == [made[4], made[3]] and page.has_more
        with pytest.raises(anthropic.BadRequestError):
            api.messages.batches.list(limit=1001)


def test_a_cancelled_batch_ends_with_what_it_finished():
    with started("--speed", "600", provider="anthropic") as sim:
        api = client(sim)
        batch = api.messages.batches.create(requests=requests(200))
        with pytest.raises(anthropic.BadRequestError):
            api.messages.batches.delete(batch.id)
        with pytest.raises(anthropic.AnthropicError):
            api.messages.batches.results(batch.id)
        time.sleep(0.3)
        assert api.messages.batches.cancel(batch.id).processing_status == "canceling"
        done = ended(api, batch.id)
        plain(done)
        assert done.cancel_initiated_at and done.request_counts.succeeded > 0 and done.request_counts.canceled > 0
        kinds = collections.Counter(line.result.type for line in api.messages.batches.results(batch.id))
        assert kinds == {"succeeded": done.request_counts.succeeded, "canceled": done.request_counts.canceled}
        assert sim.page("bill")["requests_batch"] == done.request_counts.succeeded
        with pytest.raises(anthropic.BadRequestError):
            api.messages.batches.cancel(batch.id)


def test_results_expire_and_windows_close():
    with started("--speed", "2000000", "--run-secs", "172800", provider="anthropic") as sim:
        api = client(sim)
        batch = api.messages.batches.create(requests=requests(50))
        done = ended(api, batch.id)
        assert done.request_counts.expired == 25 == done.request_counts.succeeded
        deadline = time.monotonic() + 30
        while (found := api.messages.batches.retrieve(batch.id)).archived_at is None:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        plain(found)
        assert found.results_url is None and found.archived_at - found.created_at == datetime.timedelta(days=29)


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ([], "at least 1"),
        ([{"custom_id": "x" * 65, "params": {}}], "requests.0.custom_id: String should have at most 64 characters"),
        ([{"custom_id": "a b", "params": {}}], "requests.0.custom_id"),
        ([{"custom_id": "a", "params": {}}] * 2, "unique"),
        ([{"custom_id": "a"}], "requests.0.params"),
    ],
)
def test_a_create_is_refused_as_a_whole_by_its_ids_only(sim, orders, words):
    with pytest.raises(anthropic.BadRequestError) as raised:
        client(sim).messages.batches.create(requests=orders)
    assert words in str(raised.value)


def test_a_full_queue_is_a_rate_limit():
    with started("--queued-requests", "10", "--speed", "60", provider="anthropic") as sim:
        api = client(sim)
        api.messages.batches.create(requests=requests(8))
        with pytest.raises(anthropic.RateLimitError):
            api.messages.batches.create(requests=requests(3))
