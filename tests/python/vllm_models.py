"""vLLM's own models of requests, batch lines and answers, read from its sources without what it runs on.

`python vllm_models.py FOLDER < LINES` reads a JSON object a line, `{"what": "input" | "output" | "body", "url": ..., "value": ...}`, and prints one
for each: `{"as": the model that took it, "refused": why none did}`.

This is a process of its own: nobody else must meet what stands in for torch and the like.
"""

from __future__ import annotations

import collections.abc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import types
import warnings

import openai.types.chat  # noqa: F401  it looks for packages that are stood in for below
import pydantic
from pydantic_core import core_schema

# What the judged models are made of. All else that these import from vLLM is stood in for.
READ = (
    "vllm.entrypoints.generate.base.protocol",
    "vllm.entrypoints.launchers.run_batch",
    "vllm.entrypoints.openai.chat_completion.protocol",
    "vllm.entrypoints.pooling.base.protocol",
    "vllm.entrypoints.pooling.embed.protocol",
    "vllm.entrypoints.pooling.scoring.protocol",
    "vllm.entrypoints.pooling.scoring.typing",
    "vllm.entrypoints.serve.engine.protocol",
    "vllm.envs",
    "vllm.exceptions",
    "vllm.logprobs",
    "vllm.outputs",
    "vllm.renderers",
    "vllm.renderers.chat_utils",
    "vllm.renderers.chat_utils.types",
    "vllm.renderers.params",
    "vllm.sampling_params",
    "vllm.tasks",
    "vllm.utils.serial_utils",
)
ABSENT = {"PIL", "aiohttp", "fastapi", "msgspec", "numpy", "openai_harmony", "prometheus_client", "pybase64", "starlette", "torch", "tqdm", "urllib3", "vllm"}


class Anything(type):
    """A class whose attributes, items and results are more of the kind; as a decorator it gives back what it stands on."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name)

    def __getitem__(cls, _: object) -> type:
        return cls

    def __call__(cls, *given: object, **_: object) -> object:
        return given[0] if given and isinstance(given[0], (type, types.FunctionType)) else stand_in(cls.__name__)


class StandIn(metaclass=Anything):
    def __init_subclass__(cls, **_: object) -> None:
        """Takes the words that other bases take."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(cls)  # no value of a line is one: what is not known takes nothing


def stand_in(name: str) -> type:
    return Anything(name, (StandIn,), {})


class Absent(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, stand_in(name))
        return self.__dict__[name]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name in READ:
            at = self.folder.joinpath(*name.split("."))
            file, inside = (at / "__init__.py", [str(at)]) if (at / "__init__.py").is_file() else (at.with_suffix(".py"), None)
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
        absent = name.partition(".")[0] in ABSENT
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Absent:
        return Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """It is made as it is wanted."""


class Judge:
    """vLLM takes keys of any name and reads numbers out of texts: both are refused here."""

    def __init__(self, folder: pathlib.Path) -> None:
        sys.meta_path.insert(0, Finder(folder))
        self.models = importlib.import_module("vllm.entrypoints.launchers.run_batch")

    def body(self, url: str, value: object) -> object:
        shapes = {"/v1/chat/completions": self.models.ChatCompletionRequest, "/v1/embeddings": self.models.EmbeddingRequest}
        return pydantic.TypeAdapter(shapes[url]).validate_json(json.dumps(value), strict=True, extra="forbid")

    def input(self, _: str, value: dict) -> object:
        text = json.dumps(value)
        as_vllm_reads_it = self.models.BatchRequestInput.model_validate_json(text)
        unknown = sorted(value.keys() - self.models.BatchRequestInput.model_fields.keys())
        if unknown:
            raise ValueError(f"a line has no {unknown}")
        closed = self.body(value["url"], value["body"])
        if type(closed) is not type(as_vllm_reads_it.body):
            raise ValueError(f"vLLM reads it as {type(as_vllm_reads_it.body).__name__}")
        return closed

    def output(self, _: str, value: object) -> object:
        line = self.models.BatchRequestOutput.model_validate_json(json.dumps(value), strict=True, extra="forbid")
        if isinstance(line.error, dict):
            return self.models.ErrorResponse.model_validate(line.error, strict=True, extra="forbid")
        return line.error if line.response is None or line.response.body is None else line.response.body


def looked_through(value: object) -> None:
    """Parts of a message that a model keeps for later are judged when they're read."""
    if isinstance(value, pydantic.BaseModel):
        value = dict(value)
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, collections.abc.Iterable) and not isinstance(value, (str, bytes)):
        for part in value:
            looked_through(part)


def main() -> None:
    judge = Judge(pathlib.Path(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            taken = getattr(judge, asked["what"])(asked.get("url"), asked["value"])
            looked_through(taken)
            print(json.dumps({"as": type(taken).__name__, "refused": None}))
        except Exception as error:  # noqa: BLE001  vLLM has errors of its own beside pydantic's
            print(json.dumps({"as": None, "refused": str(error)}))


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # fields that vLLM still takes
    main()
