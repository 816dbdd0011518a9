"""Google's own clients judge the simulator of Vertex AI: its tokens, its models, its jobs, its bucket and its tables."""

from __future__ import annotations

import datetime
import functools
import importlib
import io
import json
import pathlib
import time

import google.auth.transport.requests
import openai
import pytest
from google import genai
from google.api_core import exceptions
from google.auth.compute_engine import _metadata
from google.auth.exceptions import RefreshError
from google.cloud import bigquery, storage
from google.genai import errors, types
from google.oauth2 import credentials as signed_in
from google.oauth2 import service_account

from conftest import ROOT, started

MODEL = "gemini-3.8-flash"
PROJECT, LOCATION, BUCKET, DATASET = "acme-labels", "us-central1", "acme-batches", "acme_batches"
FLAGS = ("--project", PROJECT, "--bucket", BUCKET, "--dataset", DATASET)
FIXTURES = ROOT / "crates" / "bulkrate-provider" / "fixtures" / "vertex"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def file_of(sim, name: str) -> dict:
    """A file of credentials whose tokens the simulator gives out."""
    return json.loads((FIXTURES / f"{name}.json").read_text()) | {"token_uri": f"{sim.base_url}/token"}


def key_of(sim):
    return service_account.Credentials.from_service_account_info(file_of(sim, "service_account"), scopes=SCOPES)


def sign_in(sim, **fields: str):
    """A person's, as the file of `gcloud` has it."""
    names = ("refresh_token", "token_uri", "client_id", "client_secret")
    file = file_of(sim, "authorized_user") | fields
    return signed_in.Credentials(None, **{name: file[name] for name in names})


@functools.cache
def client(sim, location: str = LOCATION, version: str = "v1", project: str = PROJECT) -> genai.Client:
    """Kept, as a client that nobody holds closes its connections under its own models."""
    options = types.HttpOptions(base_url=sim.base_url, api_version=version)
    return genai.Client(vertexai=True, project=project, location=location, credentials=key_of(sim), http_options=options)


def bucket_of(sim) -> storage.Bucket:
    api = storage.Client(project=PROJECT, credentials=key_of(sim), client_options={"api_endpoint": sim.base_url})
    return api.bucket(BUCKET)


def tables_of(sim) -> bigquery.Client:
    return bigquery.Client(project=PROJECT, credentials=key_of(sim), client_options={"api_endpoint": sim.base_url})


def ask(sim, text: object = "Hello there", location: str = LOCATION, **config: object) -> types.GenerateContentResponse:
    settings: dict = {"max_output_tokens": 2_000, "thinking_config": {"thinking_level": "LOW"}}
    return client(sim, location).models.generate_content(model=MODEL, contents=text, config=settings | config)


@pytest.fixture(scope="module")
def sim():
    with started("--speed", "7200", *FLAGS, provider="vertex") as running:
        yield running


def strict(answer: types.GenerateContentResponse) -> types.GenerateContentResponseUsageMetadata:
    """The answer has no field that the SDK does not declare, and its usage adds up."""
    types.GenerateContentResponse.model_validate(answer.model_dump(mode="json", exclude={"sdk_http_response"}))
    usage = answer.usage_metadata
    parts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    assert usage.total_token_count == sum(part or 0 for part in parts)
    return usage


def test_tokens_for_a_key_a_sign_in_and_a_machine(sim, monkeypatch):
    request = google.auth.transport.requests.Request()
    person = sign_in(sim)
    for found in (key_of(sim), person):
        found.refresh(request)
        left = found.expiry - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        assert found.token.startswith("ya29.") and datetime.timedelta(minutes=55) < left < datetime.timedelta(hours=1)
    with pytest.raises(RefreshError, match="expired or revoked"):
        sign_in(sim, refresh_token="1//revoked").refresh(request)
    monkeypatch.setenv("GCE_METADATA_HOST", sim.base_url.removeprefix("http://"))
    importlib.reload(_metadata)  # it reads the variable once
    token, left = _metadata.get_service_account_token(request)
    assert token.startswith("ya29.") and left > datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_answer(sim, version):
    config = types.GenerateContentConfig(system_instruction="Be brief.", stop_sequences=["END"], temperature=0.5, labels={"team": "a"})
    answer = client(sim, LOCATION, version).models.generate_content(model=MODEL, contents="Hello there", config=config)
    usage = strict(answer)
    assert answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert (usage.traffic_type, answer.model_version) == (types.TrafficType.ON_DEMAND, MODEL)


def test_images_and_objects(sim):
    image = types.Part.from_bytes(data=b"\x00\x01", mime_type="image/png")
    stored = types.Part.from_uri(file_uri=f"gs://{BUCKET}/a.pdf", mime_type="application/pdf")
    assert ask(sim, ["Look", image, stored]).text


def test_the_flex_tier_is_a_header_and_global_only(sim):
    headers = {"X-Vertex-AI-LLM-Request-Type": "shared", "X-Vertex-AI-LLM-Shared-Request-Type": "flex"}
    before = sim.page("bill")["requests_flex"]
    usage = strict(ask(sim, location="global", http_options={"headers": headers}))
    assert usage.traffic_type == "ON_DEMAND_FLEX"
    assert sim.page("bill")["requests_flex"] == before + 1
    with pytest.raises(errors.ClientError):
        ask(sim, http_options={"headers": headers})


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"model": "gemini-nobody"}, 404, "NOT_FOUND"),
        ({"config": {"max_output_tokens": 10**6}}, 400, "INVALID_ARGUMENT"),
        ({"config": {"candidate_count": 2}}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_refusals(sim, fields, code, status):
    with pytest.raises(errors.ClientError) as raised:
        client(sim).models.generate_content(**({"model": MODEL, "contents": "Hi"} | fields))
    assert (raised.value.code, raised.value.status) == (code, status)


VECTORS, OLD_VECTORS = "gemini-embedding-001", "text-embedding-005"


@pytest.mark.parametrize(("model", "nanos"), [(VECTORS, 150), (OLD_VECTORS, 100)])
@pytest.mark.parametrize("texts", [["my parcel is late"], ["my parcel is late", "the parcel is late"]])
def test_vectors(sim, model, nanos, texts):
    before = sim.page("bill")["total_usd_nanos"]
    config = {"output_dimensionality": 64, "task_type": "CLUSTERING", "auto_truncate": False}
    found = client(sim).models.embed_content(model=model, contents=texts, config=config)
    assert [len(vector.values) for vector in found.embeddings] == [64] * len(texts)
    if model == OLD_VECTORS:
        assert [(vector.statistics.token_count, vector.statistics.truncated) for vector in found.embeddings] == [(5, False)] * len(texts)
        assert found.metadata.billable_character_count == sum(len(text.replace(" ", "")) for text in texts)
    elif len(texts) == 1:
        assert found.embeddings[0].statistics.token_count == 5
    assert sim.page("bill")["total_usd_nanos"] - before == 5 * len(texts) * nanos
    with pytest.raises(errors.ClientError) as raised:
        client(sim).models.embed_content(model=model, contents="x", config={"output_dimensionality": 10_000})
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")


def test_a_project_of_nobody_and_a_token_of_nobody(sim):
    with pytest.raises(errors.ClientError) as raised:
        client(sim, project="nobodys").models.generate_content(model=MODEL, contents="Hi")
    assert (raised.value.code, raised.value.status) == (403, "PERMISSION_DENIED")
    options = types.HttpOptions(base_url=sim.base_url)
    stranger = genai.Client(vertexai=True, project=PROJECT, location=LOCATION, credentials=signed_in.Credentials("ya29.none"), http_options=options)
    with pytest.raises(errors.ClientError) as raised:
        stranger.models.generate_content(model=MODEL, contents="Hi")
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(("fault", "code", "kind"), [("429@1", 429, errors.ClientError), ("5xx=503@1", 503, errors.ServerError)])
def test_faults_are_raised(fault, code, kind):
    with started("--fault", fault, *FLAGS, provider="vertex") as sim:
        with pytest.raises(kind) as raised:
            ask(sim)
        assert raised.value.code == code
        ask(sim)


def test_a_bucket_keeps_what_is_put_into_it_in_every_way(sim, tmp_path):
    bucket = bucket_of(sim)
    bucket.blob("way/small.jsonl").upload_from_string("one\ntwo\n", content_type="application/jsonl")
    large = tmp_path / "large.jsonl"
    large.write_bytes(b"x" * (9 << 20))
    bucket.blob("way/in pieces.jsonl", chunk_size=1 << 20).upload_from_filename(str(large))
    bucket.blob("way/whole.jsonl").upload_from_filename(str(large))
    listed = list(bucket.list_blobs(prefix="way/", page_size=2))
    assert [blob.name for blob in listed] == ["way/in pieces.jsonl", "way/small.jsonl", "way/whole.jsonl"]
    assert [blob.size for blob in listed] == [9 << 20, 8, 9 << 20]
    assert bucket.blob("way/small.jsonl").download_as_bytes() == b"one\ntwo\n"
    assert bucket.blob("way/in pieces.jsonl").download_as_bytes() == large.read_bytes()
    for blob in listed:
        blob.delete()
    assert not bucket.blob("way/small.jsonl").exists()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("way/small.jsonl").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket("nobodys").blob("a").upload_from_string("x")


def line(label: str, **config: object) -> dict:
    settings = {"maxOutputTokens": 64, "thinkingConfig": {"thinkingLevel": "MINIMAL"}} | config
    return {"request": {"contents": [{"role": "user", "parts": [{"text": f"Hi {label}"}]}], "generationConfig": settings, "labels": {"item": label}}}


def created(sim, lines: list[object], name: str = "job", model: str = MODEL) -> types.BatchJob:
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    bucket_of(sim).blob(f"{name}/input.jsonl").upload_from_string(text)
    config = types.CreateBatchJobConfig(display_name=name, dest=f"gs://{BUCKET}/{name}/out")
    return client(sim).batches.create(model=model, src=f"gs://{BUCKET}/{name}/input.jsonl", config=config)


def ended(sim, name: str) -> types.BatchJob:
    deadline = time.monotonic() + 30
    while not (found := client(sim).batches.get(name=name)).done:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def results(sim, name: str) -> list[dict]:
    blobs = [blob for blob in bucket_of(sim).list_blobs(prefix=f"{name}/out/") if "predictions" in pathlib.PurePath(blob.name).name]
    return [json.loads(text) for blob in blobs for text in blob.download_as_bytes().splitlines()]


def test_a_job_from_its_create_to_its_deletion(sim):
    lines = [line(f"item-{n}") for n in range(30)]
    lines[7]["request"]["generationConfig"]["maxOutputTokens"] = 10**6
    before = sim.page("bill")["total_usd_nanos"]
    job = created(sim, lines, "whole")
    assert (job.display_name, job.model) == ("whole", f"publishers/google/models/{MODEL}")
    assert job.state == types.JobState.JOB_STATE_PENDING
    done = ended(sim, job.name)
    assert done.state == types.JobState.JOB_STATE_SUCCEEDED and done.end_time >= done.create_time
    by_label = {result["request"]["labels"]["item"]: result for result in results(sim, "whole")}
    assert sorted(by_label) == sorted(f"item-{n}" for n in range(30))
    failed = by_label.pop("item-7")
    assert failed["response"] == {} and json.loads(failed["status"].split(": ", 1)[1])["error"]["code"] == 400
    nanos = 0
    for result in by_label.values():
        assert result["status"] == ""
        answer = types.GenerateContentResponse.model_validate(result["response"])
        usage = strict(answer)
        # Half of 0.75 and 3.75 USD a million, rounded up for each request.
        nanos += -(-(usage.prompt_token_count * 375_000 + usage.candidates_token_count * 1_875_000) // 1_000)
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    client(sim).batches.delete(name=job.name)
    with pytest.raises(errors.ClientError) as raised:
        client(sim).batches.get(name=job.name)
    assert raised.value.code == 404


def test_open_models_speak_openais_language():
    with started("--any-model", *FLAGS, provider="vertex") as sim:
        person = sign_in(sim)
        person.refresh(google.auth.transport.requests.Request())
        url = f"{sim.base_url}/v1/projects/{PROJECT}/locations/{LOCATION}/endpoints/openapi"
        client = openai.OpenAI(base_url=url, api_key=person.token, max_retries=0)
        answer = client.chat.completions.create(model=LLAMA, messages=[{"role": "user", "content": "Hello there"}], max_tokens=64)
        assert answer.choices[0].message.content and answer.usage.prompt_tokens > 0
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="ya29.none", max_retries=0).chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])


LLAMA = "meta/llama-3.3-70b-instruct-maas"


def open_line(name: str, **fields: object) -> dict:
    body = {"model": LLAMA, "messages": [{"role": "user", "content": f"Hi {name}"}], "max_tokens": 64}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body} | fields


@pytest.fixture(scope="module")
def open_sim():
    with started("--speed", "7200", "--any-model", *FLAGS, provider="vertex") as running:
        yield running


def answered(row: dict) -> openai.types.chat.ChatCompletion:
    answer = openai.types.chat.ChatCompletion.model_validate(row["response"])
    assert answer.choices[0].message.content and answer.usage.prompt_tokens > 0 and not row["error"]
    return answer


def test_a_job_of_an_open_model_from_a_bucket(open_sim):
    lines = [open_line(f"item-{n}") for n in range(30)]
    lines[7]["body"]["max_tokens"] = -1
    job = created(open_sim, lines, "open", LLAMA)
    assert job.model == "publishers/meta/models/llama-3.3-70b-instruct-maas"
    assert ended(open_sim, job.name).state == types.JobState.JOB_STATE_SUCCEEDED
    by_id = {row["custom_id"]: row for row in results(open_sim, "open")}
    assert sorted(by_id) == sorted(line["custom_id"] for line in lines)
    failed = by_id.pop("item-7")
    assert failed["response"] == {} and json.loads(failed["error"].split(": ", 1)[1])["error"]["code"] == 400
    assert all(row.keys() == {"custom_id", "error", "id", "response"} and answered(row) for row in by_id.values())


def test_a_job_of_an_open_model_from_a_table(open_sim):
    columns = [("custom_id", "STRING"), ("method", "STRING"), ("url", "STRING"), ("body", "JSON")]
    config = load_config(schema=[bigquery.SchemaField(*column) for column in columns])
    text = "".join(json.dumps(open_line(f"item-{n}")) + "\n" for n in range(5))
    api = tables_of(open_sim)
    table = f"{PROJECT}.{DATASET}.open"
    assert api.load_table_from_file(io.BytesIO(text.encode()), table, location="US", job_config=config).result(timeout=10).output_rows == 5
    job = client(open_sim).batches.create(model=LLAMA, src=f"bq://{table}", config=types.CreateBatchJobConfig(dest=f"bq://{table}_out"))
    assert ended(open_sim, job.name).state == types.JobState.JOB_STATE_SUCCEEDED
    rows = [dict(row) for row in api.list_rows(f"{table}_out")]
    assert sorted(row["custom_id"] for row in rows) == [f"item-{n}" for n in range(5)]
    assert all("method" not in row and "url" not in row and answered(row) for row in rows)


@pytest.mark.parametrize(
    "line",
    [line("a"), {"body": open_line("a")["body"]}, open_line("a", url="/v1/embeddings"), open_line("a", method="GET"), open_line("a", body={"input": "Hi"})],
)
def test_lines_of_another_shape_are_no_input_of_an_open_model(open_sim, line):
    done = ended(open_sim, created(open_sim, [open_line("b"), line], "odd", LLAMA).name)
    assert done.state == types.JobState.JOB_STATE_FAILED and "Failed to import data" in done.error.message


def test_open_models_have_no_batches_at_global(open_sim):
    with pytest.raises(errors.ClientError, match="global endpoint"):
        client(open_sim, "global").batches.create(model=LLAMA, src=f"gs://{BUCKET}/open/input.jsonl", config=types.CreateBatchJobConfig(dest=f"gs://{BUCKET}/open/out"))


def test_a_job_of_vectors(sim):
    lines = [{"key": f"item-{n}", "request": {"content": {"parts": [{"text": f"Hi {n}"}]}, "embed_content_config": {"output_dimensionality": 8, "task_type": "CLUSTERING"}}} for n in range(5)]
    before = sim.page("bill")["total_usd_nanos"]
    job = created(sim, lines, "vectors", VECTORS)
    assert ended(sim, job.name).state == types.JobState.JOB_STATE_SUCCEEDED
    found = results(sim, "vectors")
    assert sorted(result["key"] for result in found) == [line["key"] for line in lines]
    for result in found:
        answer = types.SingleEmbedContentResponse.model_validate(result["response"])
        assert result["status"] == "" and len(answer.embedding.values) == 8
    # 0.12 USD a million, one token each.
    assert sim.page("bill")["total_usd_nanos"] - before == 5 * 120


def test_lists_are_paged_and_filtered():
    with started("--speed", "7200", *FLAGS, provider="vertex") as sim:
        made = [created(sim, [line("a")], f"job-{n}").name for n in range(5)]
        listed = list(client(sim).batches.list(config={"page_size": 2}))
        assert [(job.name, job.display_name) for job in listed] == [(name, f"job-{n}") for n, name in reversed(list(enumerate(made)))]
        one = list(client(sim).batches.list(config={"filter": 'display_name="job-3"'}))
        assert [job.name for job in one] == [made[3]]


def test_what_cannot_be_read_fails_later_and_unpaid(sim):
    before = sim.page("bill")["total_usd_nanos"]
    config = types.CreateBatchJobConfig(dest=f"gs://{BUCKET}/none/out")
    absent = client(sim).batches.create(model=MODEL, src=f"gs://{BUCKET}/none/input.jsonl", config=config)
    broken = created(sim, [line("a"), "{\n"], "broken")
    for job in (absent, broken):
        done = ended(sim, job.name)
        assert done.state == types.JobState.JOB_STATE_FAILED and "Failed to import data" in done.error.message
    assert sim.page("bill")["total_usd_nanos"] == before
    with pytest.raises(errors.ClientError) as raised:
        created(sim, [line("a")], "nobody", "gemini-nobody")
    assert raised.value.code == 404


def test_what_a_cancelled_job_has_done_is_paid_and_can_be_read():
    with started("--speed", "600", *FLAGS, provider="vertex") as sim:
        job = created(sim, [line(f"item-{n}") for n in range(50)], "cut")
        time.sleep(0.3)
        client(sim).batches.cancel(name=job.name)
        assert ended(sim, job.name).state == types.JobState.JOB_STATE_CANCELLED
        assert 0 < sim.page("bill")["requests_batch"] == len(results(sim, "cut")) < 50


COLUMNS = [bigquery.SchemaField("custom_id", "STRING"), bigquery.SchemaField("request", "JSON")]


def load_config(**fields: object) -> bigquery.LoadJobConfig:
    settings: dict = {"source_format": "NEWLINE_DELIMITED_JSON", "schema": COLUMNS, "write_disposition": "WRITE_EMPTY"}
    return bigquery.LoadJobConfig(**(settings | fields))


def loaded(sim, table: str, lines: list[object], **options: object) -> bigquery.LoadJob:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    api = tables_of(sim)
    return api.load_table_from_file(io.BytesIO(text.encode()), f"{PROJECT}.{DATASET}.{table}", location="US", job_config=load_config(), **options)


@pytest.mark.parametrize("whole", [True, False])
def test_a_table_is_loaded_once_read_in_pages_and_deleted(sim, whole):
    name = f"loaded_{whole}"
    lines = [{"request": {"contents": [{"n": n, "text": "a \"b\""}]}} for n in range(25)]
    size = {"size": sum(len(json.dumps(line)) + 1 for line in lines)} if whole else {}
    job = loaded(sim, name, lines, job_id=name, **size)
    assert job.result(timeout=10).output_rows == 25 and job.state == "DONE"
    with pytest.raises(exceptions.Conflict, match="Already Exists: Job"):
        loaded(sim, name, lines, job_id=name)
    api = tables_of(sim)
    table = api.get_table(f"{PROJECT}.{DATASET}.{name}")
    assert (table.num_rows, [field.name for field in table.schema], table.location) == (25, ["custom_id", "request"], "US")
    rows = list(api.list_rows(table, page_size=10))
    assert [row["request"] for row in rows] == [line["request"] for line in lines] and rows[0]["custom_id"] is None
    # By a job of another name it is not written over.
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        loaded(sim, name, lines).result(timeout=10)
    api.delete_table(table)
    with pytest.raises(exceptions.NotFound):
        api.get_table(table)


def test_what_is_wrong_with_a_load(sim):
    with pytest.raises(exceptions.BadRequest, match="No such field"):
        loaded(sim, "wrong", [{"answer": 1}]).result(timeout=10)
    api = tables_of(sim)
    assert api.get_dataset(f"{PROJECT}.{DATASET}").location == "US"
    with pytest.raises(exceptions.NotFound, match="Not found: Dataset"):
        api.get_dataset(f"{PROJECT}.nobodys")
    with pytest.raises(exceptions.Forbidden, match="bigquery.jobs.create"):
        api.load_table_from_file(io.BytesIO(b"{}"), f"{PROJECT}.{DATASET}.t", project="nobodys", job_config=load_config())


def test_a_job_from_a_table_to_a_table(sim):
    lines = [line(f"item-{n}") for n in range(30)]
    lines[7]["request"]["generationConfig"]["maxOutputTokens"] = 10**6
    loaded(sim, "asked", lines).result(timeout=10)
    ends = {"src": f"bq://{PROJECT}.{DATASET}.asked", "config": types.CreateBatchJobConfig(display_name="tables", dest=f"bq://{PROJECT}.{DATASET}.answered")}
    job = client(sim).batches.create(model=MODEL, **ends)
    done = ended(sim, job.name)
    assert done.state == types.JobState.JOB_STATE_SUCCEEDED
    assert (done.src.bigquery_uri, done.dest.bigquery_uri) == (ends["src"], ends["config"].dest)
    rows = list(tables_of(sim).list_rows(f"{PROJECT}.{DATASET}.answered", page_size=7))
    by_label = {row["request"]["labels"]["item"]: row for row in rows}
    assert sorted(by_label) == sorted(f"item-{n}" for n in range(30))
    assert '"code":400' in by_label.pop("item-7")["status"].replace(" ", "")
    for row in by_label.values():
        assert row["status"] == ""
        strict(types.GenerateContentResponse.model_validate(row["response"]))
    with pytest.raises(errors.ClientError, match="already exists"):
        client(sim).batches.create(model=MODEL, **ends)
