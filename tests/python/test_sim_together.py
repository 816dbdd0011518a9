"""Together's official client judges the simulated batches: uploads to an address of their own, jobs, and results."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
import together
from conftest import started

MODEL = "openai/gpt-oss-120b"


@contextlib.contextmanager
def served(speed: int):
    with started("--like", "together", "--speed", str(speed), "--api-key", "secret") as running:
        yield together.Together(api_key="secret", base_url=running.base_url.removesuffix("/v1"), max_retries=0, timeout=30.0)


@pytest.fixture(scope="module")
def client():
    with served(7_200) as client:
        yield client


@pytest.fixture()
def slow_client():
    """Of a simulator of its own, whose jobs run for some seconds."""
    with served(60) as client:
        yield client


def batch_file(folder, count: int, model: str = MODEL, salt: str = "a"):
    path = folder / "input.jsonl"
    asked = [{"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": f"Say {salt}{n}."}]} for n in range(count)]
    path.write_text("".join(json.dumps({"custom_id": f"i-{n}", "body": body}) + "\n" for n, body in enumerate(asked)))
    return path


def ended(client: together.Together, job_id: str):
    for _ in range(400):
        job = client.batches.retrieve(job_id)
        if job.status in ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED"):
            return job
        time.sleep(0.02)
    raise AssertionError(f"{job_id} does not end: {job}")


def test_a_call_is_answered(client):
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=16)
    assert answer.choices[0].message.content and answer.usage.total_tokens > 0


def test_a_job_is_made_of_an_upload_and_ends_with_a_file_of_answers(client, tmp_path):
    path = batch_file(tmp_path, 5)
    upload = client.files.upload(file=path, purpose="batch-api", check=False)
    assert upload.object == "file" and upload.purpose == "batch-api" and upload.bytes == path.stat().st_size
    # The same bytes are the same file.
    assert client.files.upload(file=path, purpose="batch-api", check=False).id == upload.id
    made = client.batches.create(endpoint="/v1/chat/completions", input_file_id=upload.id)
    assert made.job.status == "VALIDATING" and made.job.input_file_id == upload.id
    assert [job.id for job in client.batches.list() if job.input_file_id == upload.id] == [made.job.id]
    job = ended(client, made.job.id)
    assert job.status == "COMPLETED" and job.progress == 100 and job.error_file_id is None
    lines = [json.loads(line) for line in client.files.content(job.output_file_id).read().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == [f"i-{n}" for n in range(5)]
    assert all(line["response"]["status_code"] == 200 and line["response"]["body"]["choices"] for line in lines)
    assert client.files.delete(upload.id).deleted is True
    with pytest.raises(together.BadRequestError):
        client.batches.create(endpoint="/v1/chat/completions", input_file_id=upload.id)


def test_a_job_that_is_no_batch_fails_with_a_reason(client, tmp_path):
    upload = client.files.upload(file=batch_file(tmp_path, 2, "no/such-model", "b"), purpose="batch-api", check=False)
    job = ended(client, client.batches.create(endpoint="/v1/chat/completions", input_file_id=upload.id).job.id)
    assert job.status == "FAILED" and "no/such-model" in job.error and job.output_file_id is None


def test_a_job_can_be_cancelled(slow_client, tmp_path):
    upload = slow_client.files.upload(file=batch_file(tmp_path, 3, salt="c"), purpose="batch-api", check=False)
    made = slow_client.batches.create(endpoint="/v1/chat/completions", input_file_id=upload.id)
    assert slow_client.batches.cancel(made.job.id).id == made.job.id
    assert ended(slow_client, made.job.id).status == "CANCELLED"


def test_what_is_not_there_and_what_is_not_allowed(client):
    with pytest.raises(together.NotFoundError):
        client.batches.retrieve("00000000-0000-0000-0000-000000000000")
    with pytest.raises(together.AuthenticationError):
        client.with_options(api_key="wrong").batches.list()
