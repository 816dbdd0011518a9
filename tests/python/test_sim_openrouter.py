"""OpenRouter's official client judges the simulated batches: requests in the create, results in the batch, and what is withheld or gone."""

from __future__ import annotations

import contextlib
import time

import openrouter
import pytest
from conftest import started
from openrouter import components, errors
from openrouter.utils import BackoffStrategy, RetryConfig

MODEL = "openai/gpt-6-luna"
ONCE = RetryConfig("none", BackoffStrategy(1, 1, 1, 1), False)


@contextlib.contextmanager
def served(*flags: str, speed: int = 7_200):
    with started("--like", "openrouter", "--speed", str(speed), "--api-key", "secret", *flags) as running:
        yield openrouter.OpenRouter(api_key="secret", server_url=running.base_url, retry_config=ONCE, timeout_ms=30_000)


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def requests(count: int, salt: str = "a") -> list[dict]:
    asked = [{"max_tokens": 16, "messages": [{"role": "user", "content": f"Say {salt}{n}."}]} for n in range(count)]
    return [{"custom_id": f"i-{n}", "body": body} for n, body in enumerate(asked)]


def made(client: openrouter.OpenRouter, count: int, model: str = MODEL) -> components.BatchObject:
    return client.batch.create_batches(endpoint="/v1/chat/completions", model=model, requests=requests(count))


def ended(client: openrouter.OpenRouter, batch_id: str) -> components.BatchObject:
    for _ in range(400):
        batch = client.batch.get_batches(id=batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.02)
    raise AssertionError(f"{batch_id} does not end: {batch}")


def test_a_batch_is_made_of_requests_and_holds_its_results(client):
    batch = made(client, 5)
    assert batch.status == "validating" and batch.results is None and batch.endpoint == "/v1/chat/completions" and batch.model == MODEL
    listed = client.batch.list(limit=10).result.data
    assert [one.id for one in listed] == [batch.id] and listed[0].results is None
    batch = ended(client, batch.id)
    assert batch.status == "completed" and (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (5, 5, 0)
    assert sorted(result.custom_id for result in batch.results) == [f"i-{n}" for n in range(5)]
    assert all(result.response.status_code == 200 and result.response.body.choices and result.error is None for result in batch.results)
    assert client.batch.delete(id=batch.id).deletion.openrouter == "deleted"
    with pytest.raises(errors.BatchErrorResponse) as gone:
        client.batch.get_batches(id=batch.id)
    assert gone.value.status_code == 404


def test_what_is_no_batch_is_refused_or_fails_with_a_reason(client):
    with pytest.raises(errors.BatchErrorResponse) as refused:
        client.batch.create_batches(endpoint="/v1/chat/completions", model=MODEL, requests=[])
    assert refused.value.data.error.code == 400 and refused.value.data.error.message
    batch = ended(client, made(client, 2, "no/such-model").id)
    assert batch.status == "failed" and "no/such-model" in batch.error.message and batch.results is None


def test_a_running_batch_is_not_deleted():
    with served(speed=60) as client:
        batch = made(client, 3)
        with pytest.raises(errors.BatchErrorResponse) as running:
            client.batch.delete(id=batch.id)
        assert running.value.status_code == 409


def test_results_are_withheld_until_they_are_paid_and_purged_in_the_end():
    with served("--fault", "results-locked@1") as client:
        batch_id = made(client, 2).id
        with pytest.raises(errors.BatchPaymentRequiredResponseError) as locked:
            ended(client, batch_id)
        assert locked.value.data.status == "completed" and locked.value.data.results is None and locked.value.data.error.code == 402
        assert len(ended(client, batch_id).results) == 2
    with served("--fault", "results-purged") as client:
        batch_id = made(client, 2).id
        with pytest.raises(errors.BatchErrorResponse) as purged:
            ended(client, batch_id)
        assert purged.value.status_code == 410
