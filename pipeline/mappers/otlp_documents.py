"""Documents of OpenTelemetry data cut into lines: one span, or one log record, each with its resource and scope inside.

| document | is |
|---|---|
| `{"resourceSpans": [{"resource", "scopeSpans": [{"scope", "spans": […]}]}]}` | an OTLP request |
| the same in snake_case | protobuf's own JSON, Phoenix's download |
| `batches` for resourceSpans, `{"trace": {…}}` around it | Grafana Tempo |
| `{"result": {"resourceSpans": …}}` | Jaeger's /api/v3/traces (not verified) |
| `instrumentationLibrarySpans` for scopeSpans | OTLP before 1.0 |
| `{"resourceLogs": [{"resource", "scopeLogs": [{"scope", "logRecords": […]}]}]}` | an OTLP request of logs |
| `{"resourceMetrics": …}`, `{"resourceProfiles": …}`, `{}` | nothing that belongs to a trace |
| `{"data": [{"traceID", "spans", "processes"}]}`, or one of these | Jaeger |
| `{"spans": [{"name", "context", …}]}` | the Python SDK's spans in one list; `final_output` is the trace's output |
| anything else | a line already, or nothing that we know: otlp_spans finds out |

Sources: opentelemetry-proto 1.45.2, jaegertracing/jaeger model/json/model.go, formats.md 3, shared/samples/otlp. Not
kept: schemaUrl, which version of the conventions a library meant, and Jaeger's counts of a page (total, limit, offset).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.otlp_spans import is_log
from pipeline.mappers.otlp_values import WAY_OUT, resource_of, scope_of

_SPANS = (("resourceSpans", "resource_spans", "batches"), ("scopeSpans", "scope_spans", "instrumentationLibrarySpans",
          "instrumentation_library_spans"), ("spans",))  # fmt: skip
_LOGS = (("resourceLogs", "resource_logs"), ("scopeLogs", "scope_logs", "instrumentationLibraryLogs"),
         ("logRecords", "log_records", "logs"))  # fmt: skip
_SCOPES = ("scope", "instrumentationLibrary", "instrumentation_library")
_OTHER_SIGNALS = frozenset(
    ["resourceMetrics", "resource_metrics", "resourceProfiles", "resource_profiles", "partialSuccess"]
)

_AROUND = ("trace", "result")


def request_in(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OTLP request in a document, where something is around it; else the document itself."""
    inner = next((record[key] for key in _AROUND if isinstance(record.get(key), dict)), record)
    return inner if any(key in inner for key in _SPANS[0]) else record


def lines_of(record: Any) -> list[tuple[str, Any]]:
    """Every span and log record in a document, with its place; the document itself where it is one already."""
    if not isinstance(record, dict):
        return [("span 1", record)]
    request = request_in(record)
    if any(key in request for key in (*_SPANS[0], *_LOGS[0])):
        spans = _in_request(request, *_SPANS)
        logs = _in_request(request, *_LOGS)
        return [*_numbered("span", spans), *_numbered("log record", logs)]
    if not record or record.keys() & _OTHER_SIGNALS:
        return []
    if isinstance(record.get("data"), list) and "traceID" not in record:
        return list(_numbered("span", [line for trace in record["data"] for line in _in_jaeger(trace)]))
    if "spans" in record:
        spans = _in_jaeger(record) if "traceID" in record or "processes" in record else _in_list(record)
        return list(_numbered("span", spans))
    return [("log record 1" if is_log(record) else "span 1", record)]


def _numbered(what: str, lines: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{what} {number}", line) for number, line in enumerate(lines, 1))


def _in_request(record: Mapping[str, Any], *levels: tuple[str, ...]) -> list[Any]:
    found: list[Any] = []
    for resource_index, group in enumerate(_objects(record, levels[0], "")):
        place = f"{levels[0][0]}[{resource_index}]"
        resource = resource_of(group.get("resource"), f"{place}.resource")
        for index, scoped in enumerate(_objects(group, levels[1], f"{place}.")):
            scope = scope_of(next((scoped[key] for key in _SCOPES if key in scoped), None))
            shared = {"resource": {"attributes": resource}, "scope": scope}
            items = _list(scoped, levels[2], f"{place}.{levels[1][0]}[{index}].")
            # What is no object is no span: it is found out where one line is read, and the others are imported.
            found += [{**item, **shared} if isinstance(item, dict) else item for item in items]
    return found


def _list(holder: Mapping[str, Any], names: tuple[str, ...], place: str) -> list[Any]:
    """What stands in the lists of these names."""
    found: list[Any] = []
    for name in names:
        value = holder.get(name)
        if isinstance(value, list):
            found += value
        elif value is not None:
            raise fields.bad_field(f"{place}{name}", "a list", value, way_out=WAY_OUT)
    return found


def _objects(holder: Mapping[str, Any], names: tuple[str, ...], place: str) -> Iterator[dict[str, Any]]:
    for index, item in enumerate(_list(holder, names, place)):
        if not isinstance(item, dict):
            raise fields.bad_field(f"{place}{names[0]}[{index}]", "an object", item, way_out=WAY_OUT)
        yield item


def _in_jaeger(trace: Any) -> list[Any]:
    """The spans, each with its process inside, as Jaeger's own storage has them."""
    if not isinstance(trace, dict):
        raise fields.bad_field("data", "a list of traces", trace, way_out=WAY_OUT)
    processes = trace.get("processes")
    processes = processes if isinstance(processes, dict) else {}
    lines = [_with_process(span, processes) for span in _list(trace, ("spans",), "")]
    warnings = trace.get("warnings")
    if warnings and lines and isinstance(lines[0], dict):
        lines[0] = {**lines[0], "trace_warnings": warnings}
    return lines


def _with_process(span: Any, processes: Mapping[str, Any]) -> Any:
    key = span.get("processID") if isinstance(span, dict) else None
    if not isinstance(key, str) or key not in processes:
        return span
    return {name: value for name, value in span.items() if name != "processID"} | {"process": processes[key]}


def _in_list(document: Mapping[str, Any]) -> list[Any]:
    """The spans of a list; what stands beside it goes with the first one."""
    lines = _list(document, ("spans",), "")
    beside = {key: value for key, value in document.items() if key != "spans" and not fields.is_empty(value)}
    if beside and lines and isinstance(lines[0], dict):
        final_output = beside.pop("final_output", None)
        first = {**lines[0], "document": beside, "final_output": final_output}
        return [first, *lines[1:]]
    return lines
