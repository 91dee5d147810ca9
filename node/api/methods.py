"""The facade's signatures, read once: what each method takes and gives."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from node.api.errors import BadRequest
from node.api.facade import NodeFacade
from node.api.json_codec import InvalidJson, Json, from_json_as, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method.

    Attributes:
        wire_name: As requests name it: `task.show`.
        name: As the facade does: `task_show`.
        params: Annotations by parameter, without the chunks.
        chunks: Name of the parameter that is fed by the client while the method runs; None if there is none.
        result: Annotation of the result, or of a stream's items.
        is_stream: Whether it gives items.
    """

    wire_name: str
    name: str
    params: Mapping[str, Any]
    chunks: str | None
    result: Any
    is_stream: bool

    def read_params(self, raw: Mapping[str, Json]) -> dict[str, Any]:
        """Return the arguments that `raw` holds.

        Raises:
            BadRequest: One is missing, unknown or malformed.
        """
        missing = sorted(self.params.keys() - raw.keys())
        unknown = sorted(raw.keys() - self.params.keys())
        if missing or unknown:
            wrong = [*(f"parameter {name} is missing" for name in missing), *(f"no parameter {n}" for n in unknown)]
            raise BadRequest(f"{self.wire_name}: {'; '.join(wrong)}")
        try:
            return {name: from_json_as(hint, raw[name], where=name) for name, hint in self.params.items()}
        except InvalidJson as error:
            raise BadRequest(f"{self.wire_name}: {error}") from error

    def write_params(self, arguments: Mapping[str, Any]) -> dict[str, Json]:
        """Return the JSON of arguments given by name."""
        return {name: to_json(arguments[name], hint) for name, hint in self.params.items()}


@cache
def methods() -> Mapping[str, Method]:
    """Return all methods by the name that requests use."""
    found = [_describe(name, function) for name, function in inspect.getmembers(NodeFacade, inspect.isfunction)]
    return MappingProxyType({each.wire_name: each for each in found if each is not None})


def method_of(function: object) -> Method:
    """Return the description of `NodeFacade.task_show` and the like."""
    name = getattr(function, "__name__", "")
    return methods()[wire_name(name)]


def wire_name(name: str) -> str:
    """Return how requests name the facade's method `name`."""
    return name.replace("_", ".", 1)


def _describe(name: str, function: Any) -> Method | None:
    if name.startswith("_"):
        return None
    hints = get_type_hints(function, include_extras=True)
    result = hints.pop("return")
    is_stream = get_origin(result) is AsyncGenerator
    chunks = [param for param, hint in hints.items() if get_origin(hint) is AsyncIterator]
    return Method(
        wire_name=wire_name(name),
        name=name,
        params=MappingProxyType({param: hint for param, hint in hints.items() if param not in chunks}),
        chunks=chunks[0] if chunks else None,
        result=get_args(result)[0] if is_stream else result,
        is_stream=is_stream,
    )
