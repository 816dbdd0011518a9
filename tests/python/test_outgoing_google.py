"""Google's discovery documents judge all that a job at Vertex AI sends: paths, parameters and bodies, from and to a bucket or tables."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess

import discovery
import pytest
from conftest import BINARY, recorded, started
from test_outgoing import asked_in_line, claude_at_vertex, of_schema, outgoing, places

JOB = """
[source]
path = "rows.csv"
id = "id"
[request]
model = "vertex/{model}"
user = "{{{{ text }}}}"
choices = ["good", "bad"]
[run]
lane = "{lane}"
budget = "5"
canary = false
poll_min = "50ms"
poll_max = "200ms"
[sink]
path = "out.csv"
[provider]
storage = "{storage}"
"""
# By the beginning of the path. Tokens are no document's.
DOCUMENTS = [
    (re.compile(r"/(upload/)?bigquery/v2/"), "bigquery.v2"),
    (re.compile(r"/(upload/)?storage/v1/"), "storage.v1"),
    (re.compile(r"/v1/projects/"), "aiplatform.v1"),
    (re.compile(r"/token|/computeMetadata/"), None),
]
# What takes any name, or whose body is not Google's.
OPEN = {"labels", "modelParameters", "responseJsonSchema"}
CLAUDE = ":rawPredict"


def calls_of(recorder) -> list[tuple[discovery.Document, dict, str, bytes]]:
    """Each call's document and method, its path and its body; the pieces of an upload that has begun go where the answer said."""
    found = []
    for verb, path, _, body in recorder.seen:
        name = next(name for prefix, name in DOCUMENTS if prefix.match(path))
        if name is not None and verb != "PUT":
            document = discovery.document(name)
            found.append((document, document.call(verb, path), path, body))
    return found


def ran(tmp_path, model: str, lane: str, storage: str):
    """A whole job, and all that it sent."""
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{n},row {n}\n" for n in range(5)))
    (tmp_path / "job.toml").write_text(JOB.format(model=model, lane=lane, storage=storage))
    flags = ("--speed", "7200", "--project", "acme", "--bucket", "acme-batches", "--dataset", "acme_batches")
    with started(*flags, provider="vertex") as sim, recorded(sim) as recorder:
        places_of = dict.fromkeys(("VERTEX_BASE_URL", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"), recorder.url)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GCE_METADATA_HOST": recorder.url.removeprefix("http://")}
        env |= places_of | {"GOOGLE_CLOUD_PROJECT": "acme", "GOOGLE_CLOUD_LOCATION": "us-central1"}
        command = [str(BINARY), "run", "job.toml", "--yes", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return recorder


def rows_judged(recorder, judge) -> None:
    """The rows of a batch's input are requests of the model's maker."""
    sent = b"".join(body for verb, _, _, body in recorder.seen if verb == "PUT")
    lines = [json.loads(line) for line in sent.decode().splitlines()]
    assert len(lines) == 5
    for line in lines:
        asked = asked_in_line("vertex", line)
        judge(json.loads(asked) if isinstance(asked, str) else asked)  # in a table Gemini's are texts


# The model, the lane, where batches lie, and methods that must have been called.
JOBS = [
    ("gemini-3.8-flash", "sync", "gs://acme-batches/x", {"publishers.models.generateContent"}),
    ("claude-haiku-5-5", "sync", "gs://acme-batches/x", {"publishers.models.rawPredict"}),
    ("gemini-3.8-flash", "batch", "gs://acme-batches/x", {"batchPredictionJobs.create", "objects.insert", "objects.get", "objects.list", "objects.delete"}),
    ("claude-haiku-5-5", "batch", "gs://acme-batches/x", {"batchPredictionJobs.create", "batchPredictionJobs.get", "objects.insert"}),
    ("gemini-3.8-flash", "batch", "bq://acme_batches", {"batchPredictionJobs.create", "jobs.insert", "jobs.get", "datasets.get", "tables.get", "tabledata.list", "tables.delete"}),
    ("claude-haiku-5-5", "batch", "bq://acme_batches", {"batchPredictionJobs.create", "jobs.insert"}),
]


@pytest.mark.parametrize(("model", "lane", "storage", "wanted"), JOBS)
def test_a_job_sends_what_the_documents_know(model, lane, storage, wanted, tmp_path):
    recorder = ran(tmp_path, model, lane, storage)
    calls = calls_of(recorder)
    called = {method["id"] for _, method, _, _ in calls}
    assert not [end for end in wanted if not any(found.endswith(end) for found in called)], called
    planted = 0
    for document, method, path, body in calls:
        with pytest.raises(discovery.Refused):
            document.call(method["httpMethod"], path + ("&" if "?" in path else "?") + "ofNobody=1")
        if not body:
            continue
        if path.endswith(CLAUDE):
            claude_at_vertex(json.loads(body))
            continue
        schema = method["request"]["$ref"]
        document.judge(schema, json.loads(body))
        for place in places(json.loads(body), OPEN):
            wrong = json.loads(body)
            functools.reduce(lambda part, name: part[name], place, wrong)["ofNobody"] = 1
            with pytest.raises(discovery.Refused):
                document.judge(schema, wrong)
            planted += 1
    assert planted or model.startswith("claude") and lane == "sync"
    if lane == "batch":
        rows_judged(recorder, claude_at_vertex if model.startswith("claude") else of_schema("GenerateContentRequest"))


def test_each_row_of_the_example_has_a_method():
    document = discovery.document("aiplatform.v1")
    rows = [row for row in outgoing() if row["service"] == "vertex" and row["refused"] is None]
    verbs = {document.call("POST", f"/v1/projects/p/locations/l{row['path'].removesuffix('#flex')}")["id"].rsplit(".", 1)[1] for row in rows}
    assert verbs == {"generateContent", "rawPredict", "predict", "embedContent", "completions"}


# Words of the Gemini API that Vertex AI has not. It has no document of its own; the parts of a request are the same.
ONLY_GEMINI = {"serviceTier"}


def test_a_request_to_gemini_has_the_parts_that_vertex_knows():
    rows = [row for row in outgoing() if row["service"] == "gemini" and row["refused"] is None and row["path"].endswith(":generateContent")]
    for row in rows:
        body = {name: copy.deepcopy(part) for name, part in row["body"].items() if name not in ONLY_GEMINI}
        of_schema("GenerateContentRequest")(body)
    assert len(rows) > 20


@pytest.mark.parametrize(
    ("name", "schema", "body", "why"),
    [
        ("aiplatform.v1", "GoogleCloudAiplatformV1BatchPredictionJob", {"state": "JOB_STATE_QUEUED"}, "told, not asked"),
        ("aiplatform.v1", "GoogleCloudAiplatformV1GenerationConfig", {"maxOutputTokens": "1"}, "no integer"),
        ("aiplatform.v1", "GoogleCloudAiplatformV1GenerationConfig", {"mediaResolution": "HUGE"}, "none of"),
        ("bigquery.v2", "Job", {"configuration": {"load": {"schema": {"fields": [{"nam": "x"}]}}}}, "`nam` does not exist"),
        ("storage.v1", "Object", {"metadata": {"key": 1}}, "no string"),
    ],
)
def test_the_judge_is_no_rubber_stamp(name, schema, body, why):
    with pytest.raises(discovery.Refused, match=re.escape(why)):
        discovery.document(name).judge(schema, body)


@pytest.mark.parametrize("target", ["/storage/v1/b/x/p/y", "/storage/v1/b/x/o?maxResults=a", "/storage/v1/b/x/o?alt=xml", "/storage/v2/b/x/o"])
def test_a_path_or_parameter_of_nobody_is_refused(target):
    with pytest.raises(discovery.Refused):
        discovery.document("storage.v1").call("GET", target)
