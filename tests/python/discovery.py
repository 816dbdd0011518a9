"""Google's discovery documents as judges: a body against a schema, and a request against the methods.

The documents lie in `google-api-python-client`; nothing is fetched. There is none of the Gemini API there.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
import typing
import urllib.parse
from typing import Any

import googleapiclient.discovery_cache.documents as documents

TYPES = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict, "array": list}


class Refused(ValueError):
    """What a document does not know, and where."""


def refuse_unless(holds: bool, where: str, why: str) -> None:
    if not holds:
        raise Refused(f"{where or 'the body'}: {why}")


class Document:
    def __init__(self, name: str) -> None:
        told = json.loads((pathlib.Path(next(iter(documents.__path__))) / f"{name}.json").read_text())
        self.schemas, self.shared, base = told["schemas"], told["parameters"], told["servicePath"]
        self.methods = [(pattern, method) for method in methods_of(told) for pattern in patterns(method, base)]

    def judge(self, schema: str, body: Any) -> None:
        self.value({"$ref": schema}, body, "")

    def value(self, shape: dict, value: Any, where: str) -> None:
        if "$ref" in shape:
            shape = self.schemas[shape["$ref"]]
        kind = shape["type"]
        if kind == "any":
            return
        # Whole numbers of 64 bits are texts.
        fits = isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        refuse_unless(fits, where, f"{json.dumps(value)} is no {kind}")
        refuse_unless(value in shape.get("enum", [value]), where, f"{json.dumps(value)} is none of {shape.get('enum')}")
        if kind == "array":
            for at, item in enumerate(value):
                self.value(shape["items"], item, f"{where}[{at}]")
        if kind == "object":
            known, rest = shape.get("properties", {}), shape.get("additionalProperties")
            for name, part in value.items():
                told = known.get(name, rest)
                refuse_unless(told is not None, where, f"`{name}` does not exist")
                refuse_unless(not told.get("readOnly"), where, f"`{name}` is told, not asked")
                self.value(told, part, f"{where}.{name}")

    def call(self, verb: str, target: str) -> dict:
        """The method that a request is to; its parameters are judged."""
        parts = urllib.parse.urlsplit(target)
        found = [method for pattern, method in self.methods if method["httpMethod"] == verb and pattern.fullmatch(parts.path)]
        refuse_unless(bool(found), target, f"no method has this path with {verb}")
        taken = self.shared | found[0]["parameters"]
        for name, value in urllib.parse.parse_qsl(parts.query, strict_parsing=True):
            refuse_unless(name in taken, target, f"the parameter `{name}` does not exist")
            shape = taken[name]
            refuse_unless(value in shape.get("enum", [value]), target, f"`{name}` is none of {shape.get('enum')}")
            refuse_unless(shape["type"] != "integer" or value.isdecimal(), target, f"`{name}` is no number")
        return found[0]


def methods_of(resource: dict) -> typing.Iterator[dict]:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from methods_of(inner)


def patterns(method: dict, base: str) -> typing.Iterator[re.Pattern]:
    uploads = method.get("mediaUpload", {}).get("protocols", {}).values()
    path = method.get("flatPath", method["path"])
    for template in (f"/{base}{path}", *(upload["path"] for upload in uploads)):
        yield re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", template)))


@functools.cache
def document(name: str) -> Document:
    return Document(name)
