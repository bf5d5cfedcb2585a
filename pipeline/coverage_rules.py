"""What a mapper leaves out of a record, by rule; everything else must be in what is sent.

The rules restate what the mappers' docstrings say is not kept. A rule only looks at values that were not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """One reason to leave values out."""

    name: str
    reason: str
    keys: Mapping[str, str] = {}
    """By format ("*" is any) the names of the fields, as a pattern of the end of a path."""
    values: str = ".*"
    """And which of their values, as a pattern; true and false are so written."""

    def takes(self, format: str, path: str, value: Any) -> bool:
        """Is this value left out by it?"""
        patterns = [self.keys[name] for name in ("*", format) if name in self.keys]
        if not any(re.search(rf"(^|\.|_)(?:{pattern})$", path) for pattern in patterns):
            return False
        return re.fullmatch(self.values, str(value).strip(), re.IGNORECASE | re.DOTALL) is not None


EMPTY, CUT = "empty", "cut"
RULES = (
    Rule(
        "role",
        "who says a message: told by the field that it stands in",
        {"*": r"role|from"},
        r"[\w -]{1,30}",
    ),
    Rule(
        "type",
        "what kind of step, event or value it is: told by the type of its span",
        {
            "*": r"type|run_type|kind|span_kind|span\.kind|mlflow\.spanType|openinference\.span\.kind|mime_?type",
            "otlp": r"refType",
            "langfuse": r"usage\.unit",
        },
        r"[\w./ -]{1,60}",
    ),
    Rule(
        "status",
        "how it ended: told by the status of its turn or session, and by its error",
        {"*": r"status|state|status\.code|status_code|statusCode|error", "langfuse": "level"},
        r"ok|error|success|succeeded|failed|pending|running|in_progress|completed|unset|[0-2]|true|false|status_code_\w+",
    ),
    Rule(
        "default",
        "so it is unless the record says otherwise",
        {"langfuse": r"level|bookmarked|public", "otlp": r"kind|is_remote"},
        r"default|false|internal",
    ),
    Rule(
        "bookkeeping",
        "when the tool stored or changed the record, not when anything happened",
        {
            "langfuse": r"(created|updated)_?[Aa]t|event_ts",
            "opik": r"(created|last_updated)_at|downloaded_at",
            "braintrust": r"created|xact_id",
            "helicone": r"updated_at",
        },
    ),
    Rule(
        "tree",
        "how steps hang together: told by their parents",
        {
            "langfuse": r"isRootObservation|is_root_observation",
            "langsmith": r"dotted_order|is_root|parent_run_ids\[\*\]|child_run_ids\[\*\]|direct_child_run_ids\[\*\]",
            "braintrust": r"is_root|span_parents\[\*\]|root_span_id",
            "openinference": r"parent_id|parentId",
        },
    ),
    Rule(
        "signature",
        "the query of an address may be a key to the data: it is sent without",
        {"*": r"\w*url|asset_urls\.\w+"},
        r"[^?\s]+\?.*",
    ),
    Rule(
        "tag",
        "a tag without a value, or one that only says again what a field says",
        {"datadog": r"tags\[\*\]"},
        r"[\w.-]+:|error:[01]|error_type:.*",
    ),
    Rule(
        "repeated",
        "which trace a step belongs to: the trace says it",
        {"mlflow": r"trace_id|request_id|mlflow\.traceRequestId"},
    ),
    Rule(
        "stand_in",
        "a row that stands in for its trace, which is there",
        {"langfuse": r"id|parent_observation_id|parentObservationId"},
        r"t-.*",
    ),
    Rule(
        "log",
        "an event or log record that became a message: the message is there, and its span has the time",
        {"otlp": r"eventName|event_name|severity(Number|Text)|(observed)?[tT]imeUnixNano"},
    ),
    Rule(
        "duration",
        "follows from start and end, which are sent",
        {
            "langfuse": r"latency",
            "langsmith": r"latency|latency_seconds|duration_ms",
            "otlp": r"duration|durationNano|startTimeMillis",
            "datadog": r"duration",
            "openinference": r"duration|latency_ms",
            "opik": r"duration",
            "weave": r"latency_ms",
        },
    ),
    Rule(
        "zero",
        "0 where nothing was counted is no count",
        {"*": r"(prompt|completion|total|input|output|reasoning)_?(tokens|[Cc]ost)|cost"},
        r"0(\.0+)?",
    ),
    Rule(
        "stream",
        "the pieces of an answer as they came, and the marks of start and end: the output and the times say it",
        {"langsmith": r"events\[\*\]\..*"},
    ),
    Rule(
        "carrier",
        "how the export or the wire carries the record, not what it says",
        {
            "*": r"schemaUrl|schema_url",
            "langfuse": r"projectId|project_id",
            "otlp": r"flags|trace_flags(\.value)?|is_remote",
            "braintrust": r"pagination_key|log_id|org_id",
            "openinference": r"id",
            "weave": r"trace_name",
            "helicone": r"helicone_message",
        },
    ),
)
REASONS = {
    EMPTY: "null, or an empty text, list or object, says nothing",
    CUT: "longer than mapping.max_value_bytes: the beginning is sent, with a mark",
    **{rule.name: rule.reason for rule in RULES},
}
