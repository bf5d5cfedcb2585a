"""Ids, times and attributes as OpenTelemetry's formats write them."""

from __future__ import annotations

import re
from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.mlflow_spans import hex_id

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
WAY_OUT = "give OTLP/JSON, Jaeger's JSON, or spans as ReadableSpan.to_json() writes them"
_HEX = re.compile("[0-9a-fA-F]+")


def id_of(value: Any, field: str, size: int) -> str | None:
    """Lower-case hex, whether it came as hex, "0x…", base64 or a number; another text as it stands; zeros are none."""
    if value.__class__ is str and len(value) == 2 * size and _HEX.fullmatch(value):
        return value.lower() if value.strip("0") else None
    if value.__class__ is int and 0 <= value < 1 << 8 * size:
        return f"{value:0{2 * size}x}" if value else None
    text = hex_id(value, field, size)
    if text is None:
        return None
    text = text.removeprefix("0x")
    if _HEX.fullmatch(text):
        text = text.lower()
    return text if text.strip("0") else None


def moment(value: Any, field: str) -> str | None:
    """Nanoseconds, as a number or as digits in a text, or an ISO text; 0 is none."""
    if value.__class__ is str:
        if len(value) >= 30 or not value.isascii() or not value.isdigit():
            return fields.time_of(value, field)
        value = int(value)
    return fields.time_of(value, field, "ns") if value else None


# --- attributes ---------------------------------------------------------------------------------------------

_PLAIN = ("stringValue", "string_value", "boolValue", "bool_value", "doubleValue", "double_value", "bytesValue",
          "bytes_value")  # fmt: skip


def value_of(value: Any, depth: int = 0) -> Any:
    """What an AnyValue holds; anything that is none as it stands."""
    if value.__class__ is not dict or depth > 100:
        return value
    text = value.get("stringValue")
    if text is not None:
        return text
    if len(value) != 1:
        return value or None
    ((kind, inner),) = value.items()
    if kind in _PLAIN:
        return inner
    if kind in ("intValue", "int_value"):
        return int(inner) if isinstance(inner, str) and len(inner) < 30 and _is_integer(inner) else inner
    if kind in ("arrayValue", "array_value") and isinstance(inner, dict) and inner.keys() <= {"values"}:
        values = inner.get("values")
        return [value_of(item, depth + 1) for item in values] if isinstance(values, list) else values or []
    if kind in ("kvlistValue", "kvlist_value") and isinstance(inner, dict) and inner.keys() <= {"values"}:
        values = inner.get("values") or []
        if isinstance(values, list) and all(
            isinstance(item, dict) and isinstance(item.get("key"), str) for item in values
        ):
            return {item["key"]: value_of(item.get("value"), depth + 1) for item in values}
    return value


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def decoded(attributes: Any, field: str) -> dict[str, Any]:
    """Attributes as an object, whether they came as one or as a list of keys and values; the caller may change it."""
    if attributes.__class__ is list:
        found: dict[str, Any] = {}
        for index, item in enumerate(attributes):
            if item.__class__ is not dict or item.get("key").__class__ is not str:
                raise fields.bad_field(f"{field}[{index}]", "an object with a key and a value", item, way_out=WAY_OUT)
            value = item.get("value")
            found[item["key"]] = value_of(value) if value.__class__ is dict else value
        return found
    if isinstance(attributes, dict):
        return dict(attributes)
    if fields.is_empty(attributes):
        return {}
    raise fields.bad_field(field, "a list of keys and values, or an object", attributes, way_out=WAY_OUT)


def resource_of(resource: Any, field: str) -> dict[str, Any]:
    if resource is None:
        return {}
    if not isinstance(resource, dict):
        raise fields.bad_field(field, "an object", resource, way_out=WAY_OUT)
    others = {
        key: value
        for key, value in resource.items()
        if value and key not in ("attributes", "schema_url", "schemaUrl")
    }  # fmt: skip
    return decoded(resource.get("attributes"), f"{field}.attributes") | others


def scope_of(scope: Any) -> Any:
    if not isinstance(scope, dict):
        return scope
    known = {key: value for key, value in scope.items() if not fields.is_empty(value)}
    if "attributes" in known:
        known["attributes"] = decoded(known["attributes"], "scope.attributes")
    return known
