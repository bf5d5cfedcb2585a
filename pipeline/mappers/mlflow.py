"""MLflow traces whose record is a whole trace: `Trace.to_json()`, `search_traces()` data frames, artifact files.

The shapes: mlflow_records.py; the spans: mlflow_spans.py. Sources of the facts: mlflow 3.17.2 and 2.22.5, in which
entities/trace_info.py, trace_info_v2.py, trace_state.py and tracing/constant.py (TraceMetadataKey, TraceTagKey)
name the fields, tracing/utils/truncation.py makes the previews; mlflow.org/docs, "Track Versions & Environments"
(environment, app_version) and "Track Users & Sessions"; formats.md section 5; files written by both versions.

| in 3.x | in 2.x | Trace field |
|---|---|---|
| trace_id ("tr-…") | request_id | id; for spans alone their attribute mlflow.traceRequestId |
| request_time: ISO, in frames ms | timestamp_ms | started_at; without it the start of the first span |
| end of the last span | the same | ended_at, once the trace has ended |
| execution_duration_ms, in frames execution_duration | execution_time_ms | latency of the turn |
| state | status | status, see below |
| trace_location…experiment_id | experiment_id | origin.project |
| trace_metadata | request_metadata | metadata, but for what follows |
| … mlflow.trace.session; else `session.id` of the outer span | the same, or a tag | conversation_id |
| … mlflow.trace.user; else `user.id` of the outer span | the same, or a tag | user_id (mlflow.user is the developer) |
| … environment, app_version | the same | environment, version |
| … mlflow.modelId, the logged model | the same | version, where there is no app_version |
| … mlflow.source.git.commit | a tag | release |
| … mlflow.trace.tokenUsage (JSON); else the sums over the spans | – | tokens |
| … mlflow.trace.cost (JSON): total_cost; else the sum over the spans | – | cost |
| tag mlflow.traceName; else the name of the outer span | the same | name |
| tags of the user | the same | tags, as "key=value", in order |
| inputs and outputs of the outer span | the same | input and output of the one turn |
| documents of RETRIEVER spans | the same | retrieval_context of the turn |
| system messages in the input of the turn, else of the first model call that has any | the same | system |
| assessments, client_request_id, other mlflow.* of metadata and tags, all else | the same | metadata.mlflow |

Input and output, and which copies of them are kept: mlflow_turn.py.

Status: OK is COMPLETED, ERROR is FAILED, IN_PROGRESS is PENDING. STATE_UNSPECIFIED, no state and one we do not know
(kept in metadata.mlflow): as the outer spans say, PENDING where one has no end, FAILED where the last is in error.

A file of spans alone tells neither metadata, tags nor state: it is imported as far as it goes, and origin says
`"shape": "spans"`. MLflow has no field that says when a trace last changed, so there is no revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, mlflow_records, mlflow_spans, mlflow_turn
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.mlflow_spans import Spans, decoded
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import judge
from pipeline.mappers.span_tree import milliseconds, retrieved
from pipeline.models import Status, Trace, Turn

_STATES = {"OK": Status.COMPLETED, "ERROR": Status.FAILED, "IN_PROGRESS": Status.PENDING}
_UNSPECIFIED = frozenset(["STATE_UNSPECIFIED", "TRACE_STATUS_UNSPECIFIED", "UNSPECIFIED", ""])


def map_trace(record: Any) -> Trace:
    """One whole trace. Raises RejectedError, naming the field and the way out."""
    try:
        return _map_trace(record)
    except RecursionError as error:
        raise RejectedError(f"the record is nested too deep; {fields.WAY_OUT}", kind="bad_field") from error


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are MLflow traces?"""
    return judge(sample, mlflow_records.score, "no MLflow fields (info, trace_metadata, request_metadata, …)")


def _map_trace(record: Any) -> Trace:
    opened = mlflow_records.open_record(record)
    known, rest = opened.known, opened.rest
    spans = mlflow_spans.read(opened.spans, opened.spans_field)

    def named(name: str) -> str:
        return opened.spelled.get(name, name)

    trace_id = fields.id_of(known.get("id"), named("id")) or spans.trace_id
    if trace_id is None:
        hint = " and the spans do not name one trace (mlflow.traceRequestId)" if spans.spans else ""
        raise RejectedError(f"trace_id is missing or empty{hint}; {fields.WAY_OUT}", kind="no_id")
    metadata = dict(mlflow_records.pairs_of(known.get("metadata"), named("metadata")))
    tags = dict(mlflow_records.pairs_of(known.get("tags"), named("tags")))
    outer_fields = {key: value for span in reversed(spans.outer) for key, value in span.metadata.items()}

    status = _status(known.get("state"), spans, rest)
    error = None
    if status is Status.FAILED:
        error = spans.error or "state ERROR, without a message"
    started_at = fields.time_of(known.get("start"), named("start"), "ms") or spans.started_at
    ended_at = None if status is Status.PENDING else spans.ended_at
    copies = mlflow_turn.copies_of(known, metadata)
    first, last = mlflow_turn.turn_values(spans, copies, status)
    for key, copy in copies.items():
        if not mlflow_turn.repeats(copy, last if key in mlflow_turn.OF_OUTPUT else first):
            (metadata if key in metadata else rest)[key] = copy
        else:
            metadata.pop(key, None)
    tokens = _take_tokens(metadata) or spans.tokens
    cost = _take_cost(metadata)
    cost = spans.cost if cost is None else cost
    turn = Turn(
        input=first,
        output=last,
        started_at=started_at,
        ended_at=ended_at,
        retrieval_context=retrieved(spans.spans),
        error=error,
        latency_ms=_latency_ms(known, rest) or milliseconds(started_at, ended_at),
        tokens=tokens,
        cost=cost,
        spans=spans.spans,
    )
    conversation_id = _take("mlflow.trace.session", metadata, tags) or _id(outer_fields.get("session.id"))
    user_id = _take("mlflow.trace.user", metadata, tags) or _id(outer_fields.get("user.id"))
    name = _take("mlflow.traceName", tags) or next((span.name for span in spans.outer if span.name), None)
    environment = _take("environment", metadata)
    version = _take("app_version", metadata) or _take("mlflow.modelId", metadata)
    release = _take("mlflow.source.git.commit", metadata, tags)
    project = _project(known, rest)
    _keep_own(rest, "trace_metadata", metadata)
    _keep_own(rest, "tags", tags)
    return Trace(
        id=trace_id,
        conversation_id=conversation_id,
        name=name,
        started_at=started_at,
        ended_at=ended_at,
        user_id=user_id,
        tags=_user_tags(tags),
        environment=environment,
        release=release,
        version=version,
        status=status,
        error=error,
        system=mlflow_turn.system_prompt(first, spans),
        turns=(turn,),
        models=spans.models,
        tokens=tokens,
        cost=cost,
        metadata=fields.beside(_not_mlflows(metadata), "mlflow", rest),
        origin={"format": "mlflow"}
        | ({} if project is None else {"project": project})
        | ({"shape": "spans"} if opened.is_spans_only else {}),
    )


# --- one field at a time ----------------------------------------------------------------------------------


def _status(stated: Any, spans: Spans, rest: dict[str, Any]) -> Status:
    state = stated.rpartition(".")[2] if isinstance(stated, str) else stated  # "TraceStatus.OK"
    if isinstance(state, str) and state in _STATES:
        return _STATES[state]
    if not fields.is_empty(stated) and not (isinstance(state, str) and state in _UNSPECIFIED):
        rest["state"] = stated
    return spans.status


def _take(name: str, *places: dict[str, Any]) -> str | None:
    """A text or integer from the first of the places that has one, taken out there; anything else stays."""
    for place in places:
        value = _id(place.get(name))
        if value is not None:
            del place[name]
            return value
    return None


def _id(value: Any) -> str | None:
    try:
        return fields.id_of(value, "")
    except RejectedError:
        return None


def _take_tokens(metadata: dict[str, Any]) -> dict[str, int]:
    """The sums that MLflow made; a value that was cut is no JSON any more, and stays."""
    stated = metadata.pop("mlflow.trace.tokenUsage", None)
    tokens, left = mlflow_spans.counts_of(decoded(stated))
    if not fields.is_empty(left):
        metadata["mlflow.trace.tokenUsage"] = left
    return tokens


def _take_cost(metadata: dict[str, Any]) -> float | None:
    stated = metadata.pop("mlflow.trace.cost", None)
    cost, left = mlflow_spans.cost_of(decoded(stated))
    if not fields.is_empty(left):
        metadata["mlflow.trace.cost"] = left
    return cost


def _latency_ms(known: Mapping[str, Any], rest: dict[str, Any]) -> float | None:
    stated = known.get("duration")
    if stated is None:
        return None
    text = stated.strip() if isinstance(stated, str) else stated
    is_seconds = isinstance(text, str) and text.endswith("s")  # "0.088s": how the REST API writes a duration
    try:
        number = fields.number_of(text.removesuffix("s") if isinstance(text, str) else text, "execution_duration")
    except RejectedError:
        number = None
    if number is None or not 0 <= number < 1e15:
        rest["execution_duration"] = stated
        return None
    return round(number * 1000, 3) if is_seconds else number


def _project(known: Mapping[str, Any], rest: dict[str, Any]) -> str | None:
    """The experiment; a location that is anything else, or says more, is kept."""
    stated = _id(known.get("experiment"))
    location = unwrap(known.get("location"), 1)
    if fields.is_empty(location):
        return stated
    experiment = location.get("mlflow_experiment") if isinstance(location, dict) else None
    project = _id(experiment.get("experiment_id")) if isinstance(experiment, dict) else None
    plain = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": project}}
    if project is None or fields.without_nulls(location) != plain:
        rest["trace_location"] = location
    return project or stated


def _user_tags(tags: Mapping[str, Any]) -> tuple[str, ...]:
    texts = [
        (key, value if isinstance(value, str) else fields.json_text(value))
        for key, value in tags.items()
        if not key.startswith("mlflow.") and value is not None
    ]
    return tuple(sorted(f"{key}={text}" if text else key for key, text in texts))


def _keep_own(rest: dict[str, Any], name: str, pairs: Mapping[str, Any]) -> None:
    """What MLflow itself noted, and we do not model."""
    own = {key: value for key, value in pairs.items() if key.startswith("mlflow.") and not fields.is_empty(value)}
    if own:
        rest.update(fields.beside(rest, name, own))


def _not_mlflows(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in metadata.items() if not key.startswith("mlflow.") and not fields.is_empty(value)
    }


MAPPER = Mapper(name="mlflow", family="mlflow", detect=detect, map_trace=map_trace)
