"""AWS's own SDK judges the simulator, and its models judge what bulkrate sends: what it cannot parse, does not raise or would not
have sent, we got wrong."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
import urllib.parse

import anthropic
import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.validate
import pytest

from conftest import BINARY, recorded, started
from test_outgoing import claude_at_bedrock
from test_sim_anthropic import strict as strict_message

ID, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"
MODEL = "us.amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/batches"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["billing", "delivery"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def client(sim, service: str, **own: object):
    config = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    settings = {"aws_access_key_id": ID, "aws_secret_access_key": SECRET, "region_name": REGION} | own
    return boto3.client(service, endpoint_url=sim.base_url, config=config, **settings)


@pytest.fixture(scope="module")
def sim():
    with started("--speed", "7200", "--api-key", f"{ID}:{SECRET}", "--region", REGION, provider="bedrock") as running:
        yield running


def ask(sim, text: str = "Hello there", model: str = MODEL, **more: object) -> dict:
    messages = [{"role": "user", "content": [{"text": text}]}]
    return client(sim, "bedrock-runtime").converse(**({"modelId": model, "messages": messages, "inferenceConfig": {"maxTokens": 200}} | more))


def strict(service: str, operation: str, answer: dict) -> dict:
    """The answer has no field that the service's model does not declare, and none is missing."""
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).output_shape
    plain = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    report = botocore.validate.ParamValidator().validate(plain, shape)
    assert not report.has_errors(), report.generate_report()
    assert set(plain) <= set(shape.members), plain
    return plain


def test_an_answer(sim):
    before = sim.page("bill")["total_usd_nanos"]
    config = {"maxTokens": 200, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}
    answer = strict("bedrock-runtime", "Converse", ask(sim, system=[{"text": "Be brief."}], inferenceConfig=config))
    usage = answer["usage"]
    assert answer["output"]["message"]["content"][0]["text"] and answer["stopReason"] == "end_turn"
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    # 0.06 and 0.24 USD a million.
    nanos = usage["inputTokens"] * 60 + usage["outputTokens"] * 240
    assert sim.page("bill")["total_usd_nanos"] - before == nanos


def test_structured_output_tools_and_tiers(sim):
    output = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"name": "label", "schema": json.dumps(SCHEMA)}}}}
    answer = strict("bedrock-runtime", "Converse", ask(sim, "My parcel is late", outputConfig=output))
    assert answer["output"]["message"]["content"] == [{"text": '{"label":"delivery"}'}]
    tools = {"tools": [{"toolSpec": {"name": "label", "inputSchema": {"json": SCHEMA}}}], "toolChoice": {"tool": {"name": "label"}}}
    answer = strict("bedrock-runtime", "Converse", ask(sim, "My parcel is late", toolConfig=tools))
    assert answer["stopReason"] == "tool_use" and answer["output"]["message"]["content"][0]["toolUse"]["input"] == {"label": "delivery"}
    answer = strict("bedrock-runtime", "Converse", ask(sim, model="amazon.nova-pro-v1:0", serviceTier={"type": "flex"}))
    assert answer["serviceTier"] == {"type": "flex"}
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    answer = strict("bedrock-runtime", "Converse", ask(sim, model=model, inferenceConfig={"maxTokens": 2_000}, additionalModelRequestFields=thinking))
    assert "reasoningContent" in answer["output"]["message"]["content"][0]


@pytest.mark.parametrize(
    ("model", "point", "ttl"),
    [
        (MODEL, {}, "5m"),
        ("global.anthropic.claude-haiku-5-5", {"ttl": "5m"}, "5m"),
        ("global.anthropic.claude-haiku-5-5", {"ttl": "1h"}, "1h"),
    ],
)
def test_what_is_marked_is_written_and_then_read(sim, model, point, ttl):
    system = [{"text": f"Label the ticket, for {ttl} at {model}. " * 200}, {"cachePoint": {"type": "default"} | point}]
    first, then = (strict("bedrock-runtime", "Converse", ask(sim, text, model, system=system))["usage"] for text in ("A", "B"))
    written = first["cacheWriteInputTokens"]
    assert written > 1_000 and first["cacheDetails"] == [{"ttl": ttl, "inputTokens": written}]
    assert (then["cacheReadInputTokens"], then["cacheWriteInputTokens"]) == (written, 0)
    assert first["inputTokens"] == then["inputTokens"] < 50


@pytest.mark.parametrize(
    ("model", "body", "vector"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "some words", "dimensions": 256}, lambda said: said["embedding"]),
        ("cohere.embed-v4:0", {"texts": ["some words"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 256}, lambda said: said["embeddings"]["float"][0]),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, "text": {"truncationMode": "NONE", "value": "some words"}}},
            lambda said: said["embeddings"][0]["embedding"],
        ),
    ],
)
def test_vectors(sim, model, body, vector):
    answer = client(sim, "bedrock-runtime").invoke_model(modelId=model, body=json.dumps(body))
    said = json.loads(answer["body"].read())
    assert len(vector(said)) == 256 and answer["contentType"] == "application/json"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "3"
    assert said.get("inputTextTokenCount") == (3 if "titan" in model else None)


CLAUDE, OLD = "global.anthropic.claude-haiku-5-5", "us.anthropic.claude-haiku-4-5-20251001-v1:0"


def own_words(text: str = "Hello there", **more: object) -> dict:
    """A body in Claude's own words."""
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 200, "messages": [{"role": "user", "content": text}]} | more


def invoke(sim, body: dict, model: str = CLAUDE, **more: object) -> tuple[dict, dict]:
    answer = client(sim, "bedrock-runtime").invoke_model(modelId=model, body=json.dumps(body), **more)
    return json.loads(answer["body"].read()), answer["ResponseMetadata"]["HTTPHeaders"]


def test_claude_in_its_own_words(sim):
    before = sim.page("bill")["total_usd_nanos"]
    said, headers = invoke(sim, own_words(system="Be brief.", anthropic_beta=["some-2026-01-01"]))
    strict_message(anthropic.types.Message.model_validate(said))
    usage = said["usage"]
    assert said["content"][0]["text"] and said["stop_reason"] == "end_turn" and said["model"] == "claude-haiku-5-5"
    assert (headers["x-amzn-bedrock-input-token-count"], headers["x-amzn-bedrock-output-token-count"]) == (str(usage["input_tokens"]), str(usage["output_tokens"]))
    # 0.10 and 0.50 USD a million.
    assert sim.page("bill")["total_usd_nanos"] - before == usage["input_tokens"] * 100 + usage["output_tokens"] * 500


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (own_words(model=CLAUDE), {}),
        (own_words(stream=False), {}),
        (own_words(service_tier="standard_only"), {}),
        (own_words(anthropic_version="2023-06-01"), {}),
        ({name: part for name, part in own_words().items() if name != "anthropic_version"}, {}),
        (own_words(anthropic_beta="some-2026-01-01"), {}),
        (own_words(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}]}]), {}),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {"maxTokens": 64}}, {}),
        (own_words(), {"model": MODEL}),
        (own_words(), {"serviceTier": "flex"}),
    ],
)
def test_what_invoke_model_refuses(sim, body, more):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        invoke(sim, body, **more)
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def bedrock_client(sim, **own: object) -> anthropic.AnthropicBedrock:
    settings = {"aws_access_key": ID, "aws_secret_key": SECRET, "aws_region": REGION, "base_url": sim.base_url, "max_retries": 0, "timeout": 30.0}
    return anthropic.AnthropicBedrock(**(settings | own))


def test_anthropics_client_for_bedrock_is_answered(sim):
    ask_claude = lambda model=CLAUDE, **more: bedrock_client(sim).messages.create(**({"model": model, "max_tokens": 4_000, "messages": [{"role": "user", "content": "My parcel is late"}]} | more))
    message = ask_claude(thinking={"type": "adaptive"}, output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}})
    strict_message(message)
    assert [block.type for block in message.content] == ["thinking", "text"] and message.content[1].text == '{"label":"delivery"}'
    system = [{"type": "text", "text": "Some words of an hour. " * 900, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first, then = (ask_claude(OLD, system=system).usage for _ in range(2))
    assert first.cache_creation.ephemeral_1h_input_tokens == then.cache_read_input_tokens > 4_096
    with pytest.raises(anthropic.BadRequestError):
        ask_claude(max_tokens=10**6)
    with pytest.raises(anthropic.PermissionDeniedError):
        bedrock_client(sim, aws_secret_key="wrong").messages.create(model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "x"}])


def test_images_documents_and_turns(sim):
    image = {"image": {"format": "png", "source": {"bytes": b"\x00\x01"}}}
    document = {"document": {"format": "pdf", "name": "contract 1", "source": {"s3Location": {"uri": "s3://bkt/c.pdf"}}}}
    messages = [
        {"role": "user", "content": [{"text": "Look"}, image, document]},
        {"role": "assistant", "content": [{"text": "A cat."}]},
        {"role": "user", "content": [{"text": "Sure?"}]},
    ]
    assert ask(sim, messages=messages)["output"]


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"model": "amazon.nobody-v1:0"}, 400, "ValidationException"),
        ({"inferenceConfig": {"maxTokens": 10**6}}, 400, "ValidationException"),
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, 400, "ValidationException"),
        ({"model": "global.anthropic.claude-haiku-5-5", "inferenceConfig": {"temperature": 0.5}}, 400, "ValidationException"),
    ],
)
def test_refusals(sim, fields, status, name):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        ask(sim, **fields)
    assert (raised.value.response["ResponseMetadata"]["HTTPStatusCode"], raised.value.response["Error"]["Code"]) == (status, name)


@pytest.mark.parametrize(
    ("service", "own", "name"),
    [
        ("bedrock-runtime", {"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ("bedrock-runtime", {"aws_access_key_id": "AKIAWRONG"}, "UnrecognizedClientException"),
        ("bedrock-runtime", {"region_name": "eu-west-1"}, "InvalidSignatureException"),
        ("s3", {"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ("s3", {"aws_access_key_id": "AKIAWRONG"}, "InvalidAccessKeyId"),
    ],
)
def test_signatures_are_checked(sim, service, own, name):
    api = client(sim, service, **own)
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        if service == "s3":
            api.put_object(Bucket="bkt", Key="a b/c:d", Body=b"x")
        else:
            api.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "x"}]}])
    assert raised.value.response["Error"]["Code"] == name


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        ("429@1", 429, "ThrottlingException"),
        ("insufficient-quota@1", 403, "AccessDeniedException"),
        ("5xx=503@1", 503, "ServiceUnavailableException"),
        ("5xx=500@1", 500, "InternalServerException"),
        ("expired-key@1", 403, "ExpiredTokenException"),
        ("revoked@1", 403, "UnrecognizedClientException"),
    ],
)
def test_faults_are_raised(fault, status, name):
    with started("--fault", fault, provider="bedrock") as sim:
        with pytest.raises(botocore.exceptions.ClientError) as raised:
            ask(sim)
        assert (raised.value.response["ResponseMetadata"]["HTTPStatusCode"], raised.value.response["Error"]["Code"]) == (status, name)
        ask(sim)


def test_models(sim):
    listed = client(sim, "bedrock").list_foundation_models()
    strict("bedrock", "ListFoundationModels", listed)
    assert MODEL in [model["modelId"] for model in listed["modelSummaries"]]


def test_objects(sim):
    s3 = client(sim, "s3")
    keys = [f"list/{n:02} a+b&c:é" for n in range(7)]
    for key in keys:
        s3.put_object(Bucket="bkt", Key=key, Body=key.encode())
    assert s3.get_object(Bucket="bkt", Key=keys[3])["Body"].read() == keys[3].encode()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bkt", Prefix="list/", PaginationConfig={"PageSize": 3})
    assert [found["Key"] for page in pages for found in page["Contents"]] == keys
    s3.delete_object(Bucket="bkt", Key=keys[3])
    s3.delete_object(Bucket="bkt", Key=keys[3])
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bkt", Key=keys[3])


def record(name: str, **more: object) -> dict:
    body = {"messages": [{"role": "user", "content": [{"text": f"Hi {name}"}]}], "inferenceConfig": {"maxTokens": 64}} | more
    return {"recordId": name, "modelInput": body}


def created(sim, records: list[dict], name: str = "job-1", **more: object) -> str:
    text = "".join(json.dumps(record) + "\n" for record in records)
    client(sim, "s3").put_object(Bucket="bkt", Key=f"in/{name}.jsonl", Body=text.encode())
    order = {
        "jobName": name,
        "roleArn": ROLE,
        "modelId": MODEL,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://bkt/in/{name}.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bkt/out/"}},
    }
    return client(sim, "bedrock").create_model_invocation_job(**(order | more))["jobArn"]


def ended(sim, arn: str) -> dict:
    deadline = time.monotonic() + 30
    while True:
        job = client(sim, "bedrock").get_model_invocation_job(jobIdentifier=arn)
        strict("bedrock", "GetModelInvocationJob", job)
        if job["status"] in ("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"):
            return job
        assert job["status"] in ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def written(sim, job: dict) -> tuple[list[dict], dict]:
    """Results and sums of a job."""
    folder = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix("s3://bkt/") + job["jobArn"].rsplit("/", 1)[1]
    source = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].rsplit("/", 1)[1]
    read = lambda key: client(sim, "s3").get_object(Bucket="bkt", Key=f"{folder}/{key}")["Body"].read()
    return [json.loads(line) for line in read(f"{source}.out").splitlines()], json.loads(read("manifest.json.out"))


def test_a_job_from_its_create_to_its_results(sim):
    records = [record(f"item-{n}") for n in range(120)]
    records[7]["modelInput"]["inferenceConfig"]["maxTokens"] = 10**6
    records[8] = record("item-8", toolConfig={"tools": [{"toolSpec": {"name": "label", "inputSchema": {"json": SCHEMA}}}]})
    before = sim.page("bill")["total_usd_nanos"]
    job = ended(sim, created(sim, records))
    assert (job["status"], job["totalRecordCount"], job["successRecordCount"], job["errorRecordCount"]) == ("Completed", 120, 118, 2)
    results, manifest = written(sim, job)
    by_id = {result["recordId"]: result for result in results}
    assert sorted(by_id) == sorted(record["recordId"] for record in records) and len(results) == 120
    assert all(by_id[record["recordId"]]["modelInput"] == record["modelInput"] for record in records)
    for name in ("item-7", "item-8"):
        assert by_id.pop(name)["error"]["errorCode"] == 400
    nanos = 0
    for result in by_id.values():
        strict("bedrock-runtime", "Converse", result["modelOutput"])
        usage = result["modelOutput"]["usage"]
        # Half of 0.06 and 0.24 USD a million.
        nanos += usage["inputTokens"] * 30 + usage["outputTokens"] * 120
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    assert manifest["processedRecordCount"] == 120 and manifest["successRecordCount"] == 118
    assert manifest["inputTokenCount"] == sum(result["modelOutput"]["usage"]["inputTokens"] for result in by_id.values())


def test_a_job_in_claudes_own_words(sim):
    records = [{"recordId": f"item-{n}", "modelInput": own_words(f"Hi {n}")} for n in range(120)]
    # Converse's, another maker's host, what batches do not take.
    records[5] = record("item-5")
    records[6]["modelInput"]["anthropic_version"] = "vertex-2023-10-16"
    records[7]["modelInput"]["tools"] = [{"name": "label", "input_schema": SCHEMA}]
    before = sim.page("bill")["total_usd_nanos"]
    job = ended(sim, created(sim, records, "own-words", modelInvocationType="InvokeModel", modelId=OLD))
    assert (job["modelInvocationType"], job["successRecordCount"], job["errorRecordCount"]) == ("InvokeModel", 117, 3)
    results, manifest = written(sim, job)
    by_id = {result["recordId"]: result for result in results}
    assert all(by_id.pop(f"item-{n}")["error"]["errorCode"] == 400 for n in (5, 6, 7))
    nanos = 0
    for result in by_id.values():
        strict_message(anthropic.types.Message.model_validate(result["modelOutput"]))
        usage = result["modelOutput"]["usage"]
        # Half of 1.10 and 5.50 USD a million.
        nanos += usage["input_tokens"] * 550 + usage["output_tokens"] * 2_750
    assert sim.page("bill")["total_usd_nanos"] - before == nanos
    assert manifest["outputTokenCount"] == sum(result["modelOutput"]["usage"]["output_tokens"] for result in by_id.values())
    # And the other way round.
    conversed = ended(sim, created(sim, records, "converse", modelId=OLD))
    assert (conversed["successRecordCount"], conversed["errorRecordCount"]) == (1, 119)


def test_a_token_makes_one_job(sim):
    records = [record(f"item-{n}") for n in range(100)]
    arns = {created(sim, records, "token-1", clientRequestToken="br1-abc-1") for _ in range(3)}
    assert len(arns) == 1
    ended(sim, arns.pop())
    # A name is taken only while its job runs.
    first = created(sim, records, "name-1")
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        created(sim, records, "name-1")
    assert raised.value.response["Error"]["Code"] == "ConflictException"
    ended(sim, first)


def test_lists_are_paged_and_carry_the_tokens():
    with started("--speed", "7200", provider="bedrock") as sim:
        records = [record(f"item-{n}") for n in range(100)]
        made = [created(sim, records, f"job-{n}", clientRequestToken=f"token-{n}") for n in range(7)]
        pages = client(sim, "bedrock").get_paginator("list_model_invocation_jobs").paginate(sortBy="CreationTime", sortOrder="Descending", PaginationConfig={"PageSize": 3})
        listed = []
        for page in pages:
            listed += strict("bedrock", "ListModelInvocationJobs", page)["invocationJobSummaries"]
        assert [(job["jobArn"], job["clientRequestToken"]) for job in listed] == [(arn, f"token-{n}") for n, arn in reversed(list(enumerate(made)))]
        found = client(sim, "bedrock").list_model_invocation_jobs(nameContains="b-3")["invocationJobSummaries"]
        assert [job["jobName"] for job in found] == ["job-3"]


def test_what_is_refused_at_once_and_what_later(sim):
    records = [record(f"item-{n}") for n in range(100)]
    for more in ({"modelId": "amazon.nobody-v1:0"}, {"modelId": "global.anthropic.claude-haiku-5-5"}, {"timeoutDurationInHours": 24, "roleArn": "arn:aws:iam::1:user/x"}):
        with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.ParamValidationError)):
            created(sim, records, "refused", **more)
    few = ended(sim, created(sim, records[:99], "few"))
    assert few["status"] == "Failed" and "less records (99) than the required minimum of: 100" in few["message"]
    absent = {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bkt/in/none.jsonl"}}}
    assert ended(sim, created(sim, records, "absent", **absent))["status"] == "Failed"
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        client(sim, "bedrock").get_model_invocation_job(jobIdentifier="abcdefghijkl")
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(("fault", "state"), [("expire", "PartiallyCompleted"), ("", "Stopped")])
def test_what_does_not_come_to_its_end_shows_what_it_did(fault, state):
    flags = ["--fault", fault] if fault else ["--speed", "600"]
    with started(*flags, provider="bedrock") as sim:
        arn = created(sim, [record(f"item-{n}") for n in range(200)])
        if not fault:
            time.sleep(0.5)
            client(sim, "bedrock").stop_model_invocation_job(jobIdentifier=arn)
        job = ended(sim, arn)
        results, manifest = written(sim, job)
        assert job["status"] == state and 0 < len(results) < 200
        assert len(results) == job["processedRecordCount"] == manifest["processedRecordCount"] == sim.page("bill")["requests_batch"]
        with pytest.raises(botocore.exceptions.ClientError) as raised:
            client(sim, "bedrock").stop_model_invocation_job(jobIdentifier=arn)
        assert raised.value.response["Error"]["Code"] == "ConflictException"


def signature(method: str, path: str, headers: dict, body: bytes) -> str:
    """What botocore says to the same request at the same time."""
    service = "s3" if "x-amz-content-sha256" in headers else "bedrock"
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth = kind(botocore.credentials.Credentials(ID, SECRET, headers.get("x-amz-security-token")), service, REGION)
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    request = botocore.awsrequest.AWSRequest(method, f"http://{headers['host']}{path}", {name: headers[name] for name in signed}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def judged(service: str, operation: str, params: dict, path: str) -> None:
    """The parameters are valid, and botocore would have sent them to the same place."""
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    report = botocore.validate.ParamValidator().validate(params, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    built = botocore.serialize.create_serializer("rest-json").serialize_to_request(params, model)
    assert built["url_path"] == path.split("?")[0]
    names = set(params) - {name for name in params if name in ("modelId", "jobIdentifier")}
    assert names <= set(model.input_shape.members), params


@pytest.mark.parametrize(("model", "setting", "more"), [(MODEL, "Converse", "temperature = 0.5"), (OLD, "InvokeModel", "stop = [\"END\"]")])
def test_what_bulkrate_sends_is_what_botocore_would(sim, tmp_path, model, setting, more):
    with open(tmp_path / "reviews.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        rows.writerows([[n, f"Review {n}: \"great\" \u00e9\u4e2d"] for n in range(130)])
    (tmp_path / "job.toml").write_text(f"""
        [source]
        path = "reviews.csv"
        id = "id"
        [request]
        model = "bedrock/{model}"
        system = "Answer with one of: positive, negative."
        user = "Review: {{{{ text }}}}"
        choices = ["positive", "negative"]
        {more}
        [run]
        lane = "batch"
        poll_min = "50ms"
        [provider]
        region = "{REGION}"
        role_arn = "{ROLE}"
        storage = "s3://bkt/bulk.rate"
        model_invocation_type = "{setting}"
        betas = ["some-2026-01-01"]
        [sink]
        path = "out.csv"
    """)
    with recorded(sim) as recorder:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET, "BEDROCK_BASE_URL": recorder.url}
        command = [str(BINARY), "run", "job.toml", "--yes", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    verb = "converse" if setting == "Converse" else "invoke"
    called = f"/model/{urllib.parse.quote(model, safe='')}/{verb}"

    def asked(words: dict) -> None:
        """A call's body, or a record's."""
        if setting == "Converse":
            return judged("bedrock-runtime", "Converse", words | {"modelId": model}, called)
        assert words["anthropic_beta"] == ["some-2026-01-01"]
        claude_at_bedrock(words)
        judged("bedrock-runtime", "InvokeModel", {"modelId": model, "body": json.dumps(words)}, called)

    seen = set()
    for method, path, headers, body in recorder.seen:
        assert headers["authorization"].endswith(f"Signature={signature(method, path, headers, body)}"), (method, path)
        place, words = urllib.parse.unquote(path.split("?")[0]), json.loads(body) if method == "POST" and body else {}
        if path == called:
            seen.add("call")
            asked(words)
        elif method == "POST" and place == "/model-invocation-job":
            seen.add("create")
            assert words["modelInvocationType"] == setting
            judged("bedrock", "CreateModelInvocationJob", words, path)
        elif method == "GET" and place.startswith("/model-invocation-job/"):
            seen.add("poll")
            judged("bedrock", "GetModelInvocationJob", {"jobIdentifier": place.removeprefix("/model-invocation-job/")}, path)
        elif method == "PUT":
            seen.add("upload")
            for line in body.splitlines():
                asked(json.loads(line)["modelInput"])
        else:
            seen.add(method)
    assert seen == {"call", "create", "poll", "upload", "GET", "DELETE"}


@pytest.mark.parametrize(
    ("model", "more", "operation"),
    [
        (MODEL, ["--system", "@system.txt"], "Converse"),
        ("global.anthropic.claude-haiku-5-5", ["--system", "@system.txt", "--prompt-cache", "1h"], "Converse"),
        ("amazon.titan-embed-text-v2:0", ["--kind", "embedding"], "InvokeModel"),
        ("us.cohere.embed-v4:0", ["--kind", "embedding"], "InvokeModel"),
    ],
)
def test_marks_and_vectors_go_out_as_botocore_would_send_them(sim, tmp_path, model, more, operation):
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{n},row {n}\n" for n in range(5)))
    (tmp_path / "system.txt").write_text("Answer with one word, whatever the row says. " * 200)
    with recorded(sim) as recorder:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET, "BEDROCK_BASE_URL": recorder.url, "AWS_REGION": REGION}
        command = [str(BINARY), "run", "rows.csv", "--id", "id", "--user", "{{ text }}", "--model", f"bedrock/{model}"]
        command += ["--lane", "sync", "--yes", "--json", "--out", "out.csv", *more]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    calls = [(path, json.loads(body)) for method, path, _, body in recorder.seen if method == "POST"]
    assert len(calls) == 5
    for path, words in calls:
        if operation == "Converse":
            assert [block for block in words["system"] if "cachePoint" in block] == words["system"][1:]
            judged("bedrock-runtime", operation, words | {"modelId": urllib.parse.unquote(path.split("/")[2])}, path)
        else:
            judged("bedrock-runtime", operation, {"modelId": urllib.parse.unquote(path.split("/")[2]), "body": json.dumps(words)}, path)
