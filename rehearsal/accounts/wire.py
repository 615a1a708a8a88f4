"""Property values as Pulumi's engine sends them: plain Python values, with secrets and unknown values marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Fixed by the engine's protocol (sdk/go/common/resource/sig and plugin/rpc.go of pulumi/pulumi).
SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - marks a secret, is none
_UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = frozenset(
    {
        _UNKNOWN_TEXT,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


@dataclass(frozen=True)
class Secret:
    """A value that must not be stored or shown in the clear."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(...)"


class Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()
"""A value that only an update will bring."""


def decode(struct: Any) -> dict[str, Any]:
    """The properties of a protobuf Struct; whole numbers become int."""
    return {key: _decode_value(value) for key, value in struct.fields.items()}


def _decode_value(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_decode_value(item) for item in value.list_value.values]
        case "struct_value":
            fields = value.struct_value.fields
            if SIGNATURE_KEY in fields and fields[SIGNATURE_KEY].string_value == _SECRET_SIGNATURE:
                return Secret(_decode_value(fields["value"]))
            return decode(value.struct_value)
    return None


def encode(properties: Mapping[str, Any], struct: Any) -> None:
    """Write properties into an empty protobuf Struct; an absent property and None are the same."""
    for key, value in properties.items():
        if value is not None:
            _encode_value(value, struct.fields[key])


def _encode_value(value: Any, target: Any) -> None:
    match value:
        case None:
            target.null_value = 0
        case Unknown():
            target.string_value = _UNKNOWN_TEXT
        case Secret():
            fields = target.struct_value.fields
            fields[SIGNATURE_KEY].string_value = _SECRET_SIGNATURE
            _encode_value(value.value, fields["value"])
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = value
        case str():
            target.string_value = value
        case list():
            target.list_value.SetInParent()
            for item in value:
                _encode_value(item, target.list_value.values.add())
        case _:
            target.struct_value.SetInParent()
            encode(value, target.struct_value)


def plain(value: Any) -> Any:
    """The value without secret marks, unknown values still in it."""
    match value:
        case Secret():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items() if item is not None}
        case list():
            return [plain(item) for item in value]
    return value


def marked(value: Any, like: Any) -> Any:
    """A plain value with secret marks wherever the value `like` has them."""
    match like:
        case Secret():
            return None if value is None else Secret(value)
        case dict() if isinstance(value, dict):
            return {key: marked(item, like.get(key)) for key, item in value.items()}
        case list() if isinstance(value, list):
            padded = like + [None] * (len(value) - len(like))
            return [marked(item, mark) for item, mark in zip(value, padded, strict=False)]
    return value
