"""The configuration file that `stoa init` writes: every setting with its explanation and default."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from node.config.lines import KeyPath
from node.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from node.config.values import write_toml

_WIDTH: Final = 100
_INTRODUCTION: Final = f"""\
Settings of a Stoa node. A line like "# name = value" shows a default: remove the "# " to change it.
Any setting can also come from the environment, which wins over this file, for instance
{ENV_PREFIX}NETWORK{ENV_DELIMITER}LISTEN_PORT=4601.
Amounts are dollars in quotes; lists in the environment are written with commas.
"""


def render_default_toml(values: Mapping[str, Any] | None = None) -> str:
    """Return a configuration in which every setting is explained.

    Args:
        values: Settings to set, by dotted name (`"chain.profile": "sepolia"`), as TOML would have them; all others
            appear as comments with their defaults.

    Raises:
        KeyError: A name is not that of a setting.
    """
    remaining = dict(values or {})
    lines = [*_comment(_INTRODUCTION), *_render_sections(Settings, (), remaining)]
    if remaining:
        raise KeyError(f"no such settings: {', '.join(remaining)}")
    return "\n".join(lines) + "\n"


def _render_sections(model: type[BaseModel], path: KeyPath, values: dict[str, Any]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if section := _section_of(field):
            here = (*path, name)
            yield ""
            yield from _comment(section.__doc__ or "")
            yield f"[{'.'.join(here)}]"
            defaults = section.model_construct().model_dump()
            for key, inner in section.model_fields.items():
                if not _section_of(inner):
                    yield from _render_setting((*here, key), inner, defaults[key], values)
            yield from _render_sections(section, here, values)


def _render_setting(path: KeyPath, field: FieldInfo, default: Any, values: dict[str, Any]) -> Iterator[str]:
    yield from _comment(" ".join([field.description or "", *_choices(field)]))
    dotted = ".".join(path)
    if dotted in values:
        yield f"{path[-1]} = {write_toml(values.pop(dotted))}"
        return
    if default is None or default in ((), {}):
        for example in field.examples or ():
            yield f"# Example: {path[-1]} = {write_toml(example)}"
    if default is not None:
        yield f"# {path[-1]} = {write_toml(default)}"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _choices(field: FieldInfo) -> Iterator[str]:
    if get_origin(field.annotation) is Literal:
        yield f"One of {', '.join(write_toml(choice) for choice in get_args(field.annotation))}."


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.strip().splitlines():
        yield from (f"# {line}" for line in textwrap.wrap(paragraph, _WIDTH))
