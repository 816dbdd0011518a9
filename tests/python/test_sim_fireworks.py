"""Fireworks' official client judges the simulated batches: data sets, jobs under names of the caller's, and results at signed addresses."""

from __future__ import annotations

import json
import time
import urllib.request

import fireworks
import pytest
from conftest import started

MODEL = "accounts/fireworks/models/gpt-oss-20b"


@pytest.fixture(scope="module")
def client():
    with started("--like", "fireworks", "--speed", "7200", "--api-key", "secret") as running:
        base = running.base_url.removesuffix("/inference/v1")
        yield fireworks.Fireworks(api_key="secret", account_id="sim", base_url=base, max_retries=0, timeout=30.0)


def asked(count: int, role: str = "user") -> bytes:
    lines = [{"custom_id": f"i-{n}", "body": {"max_tokens": 16, "messages": [{"role": role, "content": f"Say {n}."}]}} for n in range(count)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def waited(look, states: tuple[str, ...]):
    for _ in range(400):
        found = look()
        if found.state in states:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it stays {found}")


def data_set(client: fireworks.Fireworks, name: str, count: int = 5) -> str:
    made = client.datasets.create(dataset_id=name, dataset={"userUploaded": {}, "exampleCount": str(count)})
    assert made.name == f"accounts/sim/datasets/{name}" and made.state == "UPLOADING"
    client.datasets.upload(name, file=asked(count))
    return waited(lambda: client.datasets.get(name), ("READY",)).name


def test_a_call_is_answered(client):
    calls = client.with_options(base_url=f"{str(client.base_url).rstrip('/')}/inference")  # as it does of itself
    answer = calls.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=16)
    assert answer.choices[0].message.content and answer.usage.total_tokens > 0


def test_a_job_goes_from_one_data_set_to_another(client):
    source = data_set(client, "five")
    made = client.batch_inference_jobs.create(
        batch_inference_job_id="five", input_dataset_id=source, output_dataset_id="accounts/sim/datasets/five-out", model=MODEL
    )
    assert made.name == "accounts/sim/batchInferenceJobs/five" and made.input_dataset_id == source
    assert [job.name for job in client.batch_inference_jobs.list()] == [made.name]
    # A name is used once.
    with pytest.raises(fireworks.ConflictError):
        client.batch_inference_jobs.create(batch_inference_job_id="five", input_dataset_id=source, model=MODEL)
    job = waited(lambda: client.batch_inference_jobs.get("five"), ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"))
    assert job.state == "JOB_STATE_COMPLETED" and job.output_dataset_id == "accounts/sim/datasets/five-out"
    assert job.job_progress.successfully_processed_requests == 5
    urls = client.datasets.get_download_endpoint("five-out").filename_to_signed_urls
    lines = []
    for url in urls.values():
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines += [json.loads(line) for line in answer.read().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == [f"i-{n}" for n in range(5)]
    assert all(line["response"]["choices"] for line in lines)
    client.datasets.delete("five")
    with pytest.raises(fireworks.NotFoundError):
        client.datasets.get("five")


def test_a_job_is_stopped_by_deleting_it(client):
    source = data_set(client, "stopped")
    client.batch_inference_jobs.create(batch_inference_job_id="stopped", input_dataset_id=source, model=MODEL)
    client.batch_inference_jobs.delete("stopped")
    with pytest.raises(fireworks.NotFoundError):
        waited(lambda: client.batch_inference_jobs.get("stopped"), ("JOB_STATE_COMPLETED",))


def test_what_is_not_there_and_what_is_not_allowed(client):
    with pytest.raises(fireworks.NotFoundError):
        client.batch_inference_jobs.get("never")
    with pytest.raises(fireworks.BadRequestError):
        client.datasets.create(dataset_id="uncounted", dataset={"userUploaded": {}})
    with pytest.raises(fireworks.AuthenticationError):
        client.with_options(api_key="wrong").datasets.get("five")
