"""Keeping secrets out of the logs: by the name of the field, and by the secret itself."""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast

REDACTED: Final = "[redacted]"

# Whole words of a field's name; "token" alone is the currency, "salt" alone is published with a bid.
_SECRET_NAME: Final = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|mnemonic|private_?key|host_?key|seed_?phrase|authorization|cookie|credentials?"
    r"|api_?key|(api|access|auth|bearer|session)_?token)(_|$)",
    re.IGNORECASE,
)
# user:password@ in a URL, and the key that RPC providers put into path or query.
_URL_USER: Final = re.compile(r"(?<=://)[^/\s@]+@")
_URL_KEY: Final = re.compile(r"(?<=[?&])((?:api_?key|key|token)=)[^&\s\"']+", re.IGNORECASE)
_SHORTEST_SECRET: Final = 6


class Redactor:
    """Knows this process's secrets. One for all logs, made before anything is logged."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, secret: str) -> None:
        """Never print `secret`. One shorter than six characters is ignored: it would hide half of every line."""
        if len(secret) >= _SHORTEST_SECRET and secret not in self._secrets:
            self._secrets.append(secret)
            self._secrets.sort(key=len, reverse=True)  # a secret that contains another goes first

    def clean_fields(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Structlog processor: hide the values of fields with a secret's name, at any depth."""
        for name, value in event.items():
            event[name] = _clean(name, value)
        return event

    def clean_text(self, text: str) -> str:
        """Hide known secrets and URLs' credentials in a finished line, wherever they come from."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _URL_KEY.sub(rf"\1{REDACTED}", _URL_USER.sub(f"{REDACTED}@", text))


def _clean(name: object, value: Any) -> Any:
    if isinstance(name, str) and _SECRET_NAME.search(name) and value is not None:
        return REDACTED
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        return {key: _clean(key, inner) for key, inner in fields.items()}
    if isinstance(value, list | tuple):
        return [_clean(None, inner) for inner in cast("list[Any]", value)]
    return value
