"""Reads an emulator's answers with boto3 and prints one JSON object a call: what came, in the
words of tests/tests/bedrock_emulator/client.rs, and how it ended.

    python tests/bedrock/boto3_reads.py URL MODEL stream|converse COUNT

Every event is also checked against the shape that botocore's service model gives it.
"""

import json
import sys

import boto3
import botocore.exceptions
from botocore.config import Config
from botocore.validate import ParamValidator


def client(url):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}, read_timeout=60),
    )


def request(model):
    return {"modelId": model, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


def said(delta):
    if "text" in delta:
        return "text " + delta["text"]
    if "toolUse" in delta:
        return "input " + delta["toolUse"]["input"]
    reasoning = delta["reasoningContent"]
    if "text" in reasoning:
        return "thought " + reasoning["text"]
    if "signature" in reasoning:
        return "signature " + reasoning["signature"]
    return "redacted " + reasoning["redactedContent"].decode()


def line(event):
    """An event of the content as a line; None for what stands elsewhere in the report."""
    for name, payload in event.items():
        if name == "messageStart":
            return "start " + payload["role"]
        index = payload.get("contentBlockIndex")
        if name == "contentBlockStart":
            tool = payload["start"]["toolUse"]
            return f"{index} tool {tool['toolUseId']} {tool['name']}"
        if name == "contentBlockDelta":
            return f"{index} {said(payload['delta'])}"
        if name == "contentBlockStop":
            return f"{index} stop"
    return None


def read(bedrock, model, shape):
    report = {"lines": [], "stop": None, "usage": None, "error": None, "faults": []}
    try:
        for event in bedrock.converse_stream(**request(model))["stream"]:
            faults = ParamValidator().validate(event, shape)
            if faults.has_errors():
                report["faults"].append(faults.generate_report())
            text = line(event)
            if text is not None:
                report["lines"].append(text)
            elif "messageStop" in event:
                report["stop"] = event["messageStop"]["stopReason"]
            elif "metadata" in event:
                report["usage"] = event["metadata"].get("usage")
    except botocore.exceptions.ClientError as error:
        report["error"] = error.response["Error"]["Code"]
    except Exception as error:  # what a broken connection raises differs by layer
        report["error"] = type(error).__name__
    return report


def converse(bedrock, model, shape):
    answer = bedrock.converse(**request(model))
    del answer["ResponseMetadata"]
    faults = ParamValidator().validate(answer, shape)
    return {"answer": answer, "faults": [faults.generate_report()] if faults.has_errors() else []}


def main():
    url, model, how, count = sys.argv[1:]
    bedrock = client(url)
    operations = bedrock.meta.service_model
    for _ in range(int(count)):
        if how == "stream":
            shape = operations.operation_model("ConverseStream").get_event_stream_output()
            report = read(bedrock, model, shape)
        else:
            report = converse(bedrock, model, operations.operation_model("Converse").output_shape)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
