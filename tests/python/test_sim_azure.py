"""OpenAI's official client for Azure judges the simulated resource, in both generations of its API."""

from __future__ import annotations

import json
import time

import openai
import pytest
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient
from conftest import Sim, started

MODEL = "gpt-4.1-mini"
BATCHES = f"{MODEL}-batch"
DATED = "2024-10-21"


@pytest.fixture(scope="module")
def azure():
    with started("--speed", "7200", "--api-key", "secret", "--deployment", "triage=gpt-4.1-mini", provider="azure") as running:
        yield running


def dated(sim: Sim, **options: object) -> openai.AzureOpenAI:
    """The client that makes the paths of the older generation itself."""
    settings: dict = {"api_key": "secret", "azure_endpoint": sim.base_url, "api_version": DATED, "max_retries": 0, "timeout": 30.0}
    return openai.AzureOpenAI(**(settings | options))


def newer(sim: Sim) -> openai.OpenAI:
    """The plain client, which the newer generation takes with the key as a bearer."""
    return openai.OpenAI(api_key="secret", base_url=f"{sim.base_url}/openai/v1/", max_retries=0, timeout=30.0)


@pytest.fixture(params=["dated", "newer"])
def client(request, azure):
    return (dated if request.param == "dated" else newer)(azure)


def ask(client: openai.OpenAI, model: str = "triage", **options: object):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], max_completion_tokens=16, **options)


def test_a_call_to_a_deployment_is_answered_with_what_the_filter_found(client):
    answer = ask(client)
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content
    assert answer.model.startswith("gpt-4.1-mini") and answer.usage.prompt_tokens > 0
    assert answer.choices[0].content_filter_results["hate"]["severity"] == "safe"
    assert answer.prompt_filter_results[0]["prompt_index"] == 0


def test_a_deployment_in_the_path_wins_over_the_model(azure):
    answer = ask(dated(azure, azure_deployment="triage"), model="anything")
    assert answer.model.startswith("gpt-4.1-mini")


@pytest.mark.parametrize("model", ["nobody", BATCHES])
def test_what_is_no_deployment_for_calls_is_refused(client, model):
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as refused:
        ask(client, model)
    assert refused.value.code in ("DeploymentNotFound", "OperationNotSupported")


def test_keys_and_versions_are_checked(azure):
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(dated(azure, api_key="wrong"))
    assert refused.value.code == "401"
    with pytest.raises(openai.NotFoundError):
        ask(dated(azure, api_version="sometime"))


def test_the_filter_refuses_prompts_with_its_findings():
    with started("--fault", "refusal", provider="azure") as sim:
        client, refusals, cut = newer(sim), 0, 0
        for _ in range(12):
            try:
                cut += ask(client, MODEL).choices[0].finish_reason == "content_filter"
            except openai.BadRequestError as error:
                assert error.code == "content_filter" and error.type is None and error.param == "prompt"
                assert error.body["innererror"]["content_filter_result"]["violence"]["filtered"] is True
                refusals += 1
        assert refusals > 0 and cut > 0 and refusals + cut == 12


def test_a_limit_is_told_in_azures_words():
    with started("--rpm", "60", provider="azure") as sim:
        client = dated(sim)
        with pytest.raises(openai.RateLimitError) as refused:
            for _ in range(5):
                ask(client, MODEL)
        assert refused.value.code == "429" and "Please retry after" in str(refused.value)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        headers = refused.value.response.headers
        assert headers["x-ratelimit-remaining-requests"] == "0" and "x-ratelimit-reset-requests" not in headers


def lines(url: str, model: str = BATCHES, rows: int = 20) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 16}
    every = [{"custom_id": f"row-{row}", "method": "POST", "url": url, "body": body} for row in range(rows)]
    return "".join(json.dumps(one) + "\n" for one in every).encode()


def uploaded(client: openai.OpenAI, data: bytes) -> str:
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    assert file.status == "pending"
    while client.files.retrieve(file.id).status == "pending":
        time.sleep(0.005)
    return file.id


def finished(client: openai.OpenAI, file: str, url: str):
    batch = client.batches.create(input_file_id=file, endpoint=url, completion_window="24h", metadata={"run": "r1"})
    while batch.status.lower() not in {"completed", "failed"}:
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


@pytest.mark.parametrize("url", ["/chat/completions", "/v1/chat/completions"])
def test_a_batch_from_its_file_to_its_bill(azure, client, url):
    before = azure.page("bill")
    batch = finished(client, uploaded(client, lines(url)), url)
    assert batch.status.lower() == "completed" and batch.endpoint == "/chat/completions" and batch.request_counts.total == 20
    assert batch.metadata == {"run": "r1"} and batch.id.count("-") == 4
    assert isinstance(batch.created_at, str) == (client.base_url.path.rstrip("/") == "/openai")
    rows = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    assert sorted(row["custom_id"] for row in rows) == sorted(f"row-{row}" for row in range(20))
    assert client.files.content(batch.error_file_id).read() == b""
    bill = azure.page("bill")
    assert bill["requests_batch"] - before["requests_batch"] == 20 and bill["total_usd_nanos"] > before["total_usd_nanos"]
    assert batch.id in [one.id for one in client.batches.list(limit=100)]


@pytest.mark.parametrize(("data", "code"), [
    (lines("/chat/completions", model="triage"), "invalid_request"),
    (lines("/chat/completions", model="nobody"), "model_not_found"),
    (lines("/v1/chat/completions"), "url_mismatch"),
    (lines("/chat/completions", rows=1) * 2, "duplicate_custom_id"),
])
def test_a_bad_file_fails_as_a_whole(client, data, code):
    batch = finished(client, uploaded(client, data), "/chat/completions")
    assert batch.status.lower() == "failed" and code in [error.code for error in batch.errors.data]


def test_a_file_must_be_processed_first():
    with started("--speed", "1", provider="azure") as sim:
        client = newer(sim)
        file = client.files.create(file=("in.jsonl", lines("/chat/completions")), purpose="batch")
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(input_file_id=file.id, endpoint="/chat/completions", completion_window="24h")
        assert "pending" in str(refused.value)


def container(sim: Sim, name: str = "batches", signature: str = "any%3D") -> ContainerClient:
    """Microsoft's own client for blobs, which takes no tokens where there is no https."""
    credential = AzureSasCredential(f"sv=2024-11-04&sig={signature}")
    return BlobServiceClient(f"{sim.base_url}/blobs", credential=credential, retry_total=0).get_container_client(name)


def test_a_container_keeps_what_is_put_into_it(azure):
    blobs = container(azure)
    for name, data in [("way/b.jsonl", b"one\ntwo\n"), ("way/a.jsonl", b"x" * (9 << 20)), ("way/empty.jsonl", b"")]:
        blobs.upload_blob(name, data)
    assert list(blobs.list_blob_names(name_starts_with="way/")) == ["way/a.jsonl", "way/b.jsonl", "way/empty.jsonl"]
    assert blobs.download_blob("way/b.jsonl").readall() == b"one\ntwo\n"
    assert blobs.download_blob("way/a.jsonl").readall() == b"x" * (9 << 20)
    assert blobs.download_blob("way/empty.jsonl").readall() == b""
    assert blobs.get_blob_client("way/b.jsonl").get_blob_properties().size == 8
    with pytest.raises(ResourceExistsError):
        blobs.upload_blob("way/b.jsonl", b"")
    blobs.upload_blob("way/b.jsonl", b"new", overwrite=True)
    assert blobs.download_blob("way/b.jsonl").readall() == b"new"
    for name in list(blobs.list_blob_names(name_starts_with="way/")):
        blobs.delete_blob(name)
    assert not blobs.get_blob_client("way/b.jsonl").exists()
    with pytest.raises(ResourceNotFoundError) as refused:
        blobs.download_blob("way/b.jsonl")
    assert refused.value.error_code == "BlobNotFound"


def test_a_container_is_not_open_to_everybody():
    with started("--bucket", "batches", provider="azure") as sim:
        with pytest.raises((ClientAuthenticationError, HttpResponseError)) as refused:
            container(sim, signature="wrong").upload_blob("a", b"x")
        assert refused.value.error_code == "AuthenticationFailed"
        with pytest.raises(ResourceNotFoundError) as refused:
            container(sim, "nobodys").upload_blob("a", b"x")
        assert refused.value.error_code == "ContainerNotFound"


def from_blob(client: openai.OpenAI, sim: Sim, name: str, **fields: object):
    blob = {"input_blob": f"{sim.base_url}/blobs/batches/{name}", "output_folder": {"url": f"{sim.base_url}/blobs/batches/out"}}
    return client.batches.create(input_file_id=None, endpoint="/chat/completions", completion_window="24h", extra_body=blob, **fields)


def test_a_batch_from_a_blob_to_blobs(azure, client):
    blobs, before = container(azure), azure.page("bill")["requests_batch"]
    blobs.upload_blob("in/input.jsonl", lines("/chat/completions"), overwrite=True)
    batch = from_blob(client, azure, "in/input.jsonl")
    assert (batch.input_file_id, batch.metadata, batch.output_blob) == (None, None, "")
    while batch.status.lower() != "completed":
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    assert batch.input_blob.endswith("/blobs/batches/in/input.jsonl") and batch.output_file_id is None
    path = f"out/{batch.id.removeprefix('batch_')}"
    assert (batch.output_blob, batch.error_blob) == tuple(f"{azure.base_url}/blobs/batches/{path}/{name}.jsonl" for name in ("results", "errors"))
    rows = [json.loads(row) for row in blobs.download_blob(f"{path}/results.jsonl").readall().splitlines()]
    assert sorted(row["custom_id"] for row in rows) == sorted(f"row-{row}" for row in range(20))
    # It is named all the same.
    assert not blobs.get_blob_client(f"{path}/errors.jsonl").exists()
    assert azure.page("bill")["requests_batch"] - before == 20
    assert batch.input_blob in [one.input_blob for one in client.batches.list(limit=100)]


def test_nothing_can_be_written_on_a_batch_from_a_blob(azure, client):
    container(azure).upload_blob("marked/input.jsonl", lines("/chat/completions"), overwrite=True)
    with pytest.raises(openai.BadRequestError, match="metadata"):
        from_blob(client, azure, "marked/input.jsonl", metadata={"run": "r1"})
    with pytest.raises(openai.BadRequestError):
        from_blob(client, azure, "nobodys.jsonl")
