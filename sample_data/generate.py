"""Writes the files in this folder that nobody can write by hand: `.venv/bin/python sample_data/generate.py`."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
PHOTO = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42m"
    "Nk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def langfuse_rows() -> list[dict[str, Any]]:
    """Rows of the blob export's `traces` table, with the column types of its Parquet files."""

    def row(number: int, at: datetime, question: str, answer: str | None, **more: Any) -> dict[str, Any]:
        fixed = {
            "id": f"pq-trace-{number:03}",
            "timestamp": at,
            "name": "museum-guide",
            "environment": "production",
            "project_id": "proj-museum",
            "metadata": {"gallery": "ceramics", "language": "en"},
            "user_id": None,
            "session_id": None,
            "release": "autumn",
            "version": None,
            "public": False,
            "bookmarked": False,
            "tags": ["guide"],
            "input": json.dumps({"question": question}, ensure_ascii=False),
            "output": answer,
            "created_at": at,
            "updated_at": at,
        }
        return fixed | more

    return [
        row(1, datetime(2026, 8, 19, 10, 0, 0, 250_000), "How old is the blue bowl?", "About 900 years.",
            session_id="visitor-31", user_id="ticket-5521"),
        row(2, datetime(2026, 8, 19, 10, 0, 41, 0), "And who made it?", "A workshop in Kashan; no name is known.",
            session_id="visitor-31", user_id="ticket-5521"),
        row(3, datetime(2026, 8, 19, 11, 30, 0, 1), "この茶碗はどこで作られましたか。", "美濃で作られました。",
            metadata={"gallery": "ceramics", "language": "ja"}),
        row(4, datetime(2026, 8, 19, 12, 0, 0, 0), "Is there a café? ☕", None, metadata={}, tags=[]),
    ]  # fmt: skip


def write_langfuse(folder: Path) -> None:
    """langfuse_traces.parquet"""
    text, moment = pa.string(), pa.timestamp("us")
    types = {"timestamp": moment, "created_at": moment, "updated_at": moment, "metadata": pa.map_(text, text)}
    types |= {"public": pa.bool_(), "bookmarked": pa.bool_(), "tags": pa.list_(text)}
    rows = langfuse_rows()
    schema = pa.schema([(name, types.get(name, text)) for name in rows[0]])
    for row in rows:
        row["metadata"] = list(row["metadata"].items())
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "langfuse_traces.parquet", compression="zstd")


def openai_rows() -> list[dict[str, Any]]:
    """Chat messages as OpenAI's API and its fine-tuning files have them."""
    system = {"role": "system", "content": "You are the concierge of Hotel Aurora. Be brief."}
    weather = {"name": "get_weather", "arguments": '{"city": "Tromsø", "day": "tomorrow"}'}
    return [
        {
            "messages": [
                system,
                {"role": "user", "content": "Will it snow in Tromsø tomorrow?"},
                {"role": "assistant", "content": None,
                 "tool_calls": [{"id": "call_snow_1", "type": "function", "function": weather}]},
                {"role": "tool", "tool_call_id": "call_snow_1", "content": '{"snow_cm": 4, "max_c": -2}'},
                {"role": "assistant", "content": "Yes, about 4 cm, at −2 °C. ❄️"},
                {"role": "user", "content": "Then please book the sauna for two at 18:00."},
                {"role": "assistant", "content": "Booked: sauna for two at 18:00."},
            ]
        },
        {
            "messages": [
                system,
                {"role": "user", "content": [
                    {"type": "text", "text": "Which church is this?"},
                    {"type": "image_url", "image_url": {"url": PHOTO}},
                ]},
                {"role": "assistant", "content": "That looks like the Arctic Cathedral."},
            ],
            "model": "gpt-4.1",
        },
        {
            "id": "aurora-0003",
            "created": 1_787_126_400,
            "model": "gpt-4.1-mini",
            "metadata": {"room": "214"},
            "messages": [
                {"role": "developer", "content": "Answer in the language of the guest."},
                {"role": "user", "content": "هل الإفطار مشمول؟"},
                {"role": "user", "content": "ومتى يبدأ؟"},
                {"role": "assistant", "content": "نعم، الإفطار مشمول، ويبدأ في السابعة صباحًا."},
            ],
            "usage": {"prompt_tokens": 61, "completion_tokens": 17, "total_tokens": 78},
        },
        {"messages": [{"role": "assistant", "content": "Good evening! How may I help?"},
                      {"role": "user", "content": "A taxi to the airport, please."}]},
    ]  # fmt: skip


def write_openai(folder: Path) -> None:
    """chat_openai.jsonl.gz"""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in openai_rows())
    (folder / "chat_openai.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


def lmsys_rows() -> list[dict[str, Any]]:
    """The columns of LMSYS-Chat-1M."""
    moderation = [{"categories": {"violence": False}, "category_scores": {"violence": 0.0001}, "flagged": False}]

    def row(number: int, model: str, language: str, *said: str) -> dict[str, Any]:
        conversation = [
            {"content": text, "role": "assistant" if index % 2 else "user"} for index, text in enumerate(said)
        ]
        return {
            "conversation_id": f"lm{number:030x}",
            "model": model,
            "conversation": conversation,
            "turn": len(said) // 2,
            "language": language,
            "openai_moderation": moderation * len(said),
            "redacted": False,
        }

    return [
        row(1, "vicuna-13b", "English", "Name three uses for old coffee grounds.",
            "Fertiliser, a scrub for pans, and a fridge deodoriser."),
        row(2, "koala-13b", "Portuguese", "Traduz “saudade” para inglês.", "Não há uma palavra exata; “longing”.",
            "E para francês?", "Também não; “manque” chega perto."),
        row(3, "vicuna-13b", "Japanese", "俳句を一つ作ってください。", "秋の雨 窓辺の猫が 空を読む"),
    ]  # fmt: skip


def wildchat_rows() -> list[dict[str, Any]]:
    """The columns of WildChat; the first two conversations are alike, so they share their hash."""

    def row(number: int, hash_of: int, at: datetime, *said: str) -> dict[str, Any]:
        conversation = [
            {
                "content": text,
                "role": "assistant" if index % 2 else "user",
                "turn_identifier": 100 * number + index // 2,
                "timestamp": at if index % 2 else None,
                "country": None if index % 2 else "Belgium",
                "language": "English",
                "redacted": False,
                "toxic": False,
            }
            for index, text in enumerate(said)
        ]
        return {
            "conversation_hash": f"{hash_of:032x}",
            "model": "gpt-4-0314",
            "timestamp": at,
            "conversation": conversation,
            "turn": len(said) // 2,
            "language": "English",
            "toxic": False,
            "redacted": False,
            "country": "Belgium",
        }

    noon = datetime(2026, 4, 12, 12, 0, 0, tzinfo=UTC)
    return [
        row(1, 0xA1, noon, "Write a limerick about rain in Ghent.", "There once was a cyclist in Ghent …"),
        row(2, 0xA1, noon.replace(hour=15), "Write a limerick about rain in Ghent.", "In Ghent it will rain …"),
        row(3, 0xB2, noon.replace(hour=18), "Give me a name for a bakery.", "“Crumb & Co.”", "Another?", "“Oven”"),
    ]


def opik_trace(number: int, question: str, *spans: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What `opik export` writes for one trace: two dumps of its API's objects, with a null for all that is absent."""
    absent = ["end_time", "output", "metadata", "tags", "error_info", "usage", "feedback_scores", "comments",
              "total_estimated_cost", "duration", "ttft", "thread_id", "experiment", "environment"]  # fmt: skip
    trace = {
        "id": f"0198d7c2-4a00-7b1e-8f00-{number:012}",
        "project_id": "0198d000-0000-7000-8000-000000000001",
        "name": "bakery-order",
        "start_time": f"2026-08-23 07:{number:02}:00.100000+00:00",
        "input": {"question": question},
        "created_by": "till-3",
        "last_updated_at": f"2026-08-23 07:{number:02}:09.500000+00:00",
        "span_count": len(spans),
        "source": "sdk",
    }
    return {
        "trace": dict.fromkeys(absent) | trace | more,
        "spans": list(spans),
        "attachments": [],
        "downloaded_at": "2026-09-01T06:00:00.000001",
        "project_name": "bakery",
    }


def opik_span(trace: int, number: int, kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A span of the trace with this number, a second after the one before it."""
    absent = ["parent_span_id", "output", "metadata", "model", "provider", "tags", "usage", "error_info",
              "total_estimated_cost"]  # fmt: skip
    moment = f"2026-08-23 07:{trace:02}:0"
    return dict.fromkeys(absent) | {
        "id": f"0198d7c2-4a00-7b1e-9f{number:02}-{trace:012}",
        "trace_id": f"0198d7c2-4a00-7b1e-8f00-{trace:012}",
        "project_name": "bakery",
        "type": kind,
        "name": name,
        "start_time": f"{moment}{number}.100000+00:00",
        "end_time": f"{moment}{number + 1}.000000+00:00",
    } | more  # fmt: skip


def opik_traces() -> dict[str, dict[str, Any]]:
    """Three traces of a bakery, a file each: two of one thread, and one in error."""
    order = {"thread_id": "order-88", "environment": "production", "tags": ["till"], "metadata": {"shop": "Leuven"}}
    usage = {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49, "original_usage.input_tokens": 40}
    crash = {"exception_type": "OvenError", "message": "too hot", "traceback": "Traceback …\nOvenError: too hot"}
    score = {"name": "politeness", "value": 1.0, "reason": "said please", "source": "ui"}
    return {
        "opik_trace_1.json": opik_trace(
            1, "Two rye loaves, please.",
            opik_span(1, 1, "general", "order", input={"question": "Two rye loaves, please."}),
            opik_span(1, 2, "tool", "stock", parent_span_id="0198d7c2-4a00-7b1e-9f01-000000000001",
                      input={"bread": "rye"}, output={"left": 5}),
            opik_span(1, 3, "llm", "reply", parent_span_id="0198d7c2-4a00-7b1e-9f01-000000000001",
                      model="gpt-4.1-mini", provider="openai", usage=usage, total_estimated_cost=0.00003,
                      input={"messages": [{"role": "user", "content": "Two rye loaves, please."}]},
                      output={"choices": [{"message": {"role": "assistant", "content": "With pleasure: two rye."}}]}),
            output={"output": "With pleasure: two rye."}, end_time="2026-08-23 07:01:04.000000+00:00",
            duration=3900.0, usage=usage, total_estimated_cost=0.00003, feedback_scores=[score], **order,
        ),
        "opik_trace_2.json": opik_trace(
            2, "Et un croissant ? 🥐", output={"output": "Voilà."}, end_time="2026-08-23 07:02:01.000000+00:00",
            **order,
        ),
        "opik_trace_3.json": opik_trace(
            3, "Bake me a cake.",
            opik_span(3, 1, "tool", "oven", input={"degrees": 400}, error_info=crash),
            error_info=crash, end_time="2026-08-23 07:03:02.000000+00:00",
        ),
    }  # fmt: skip


def helicone_row(number: int, request: Any, response: Any, *, status: int = 200, **more: Any) -> dict[str, Any]:
    """A row as Helicone's API gives it; where a body is not there, a message of Helicone's stands for it."""
    minute = f"2026-08-24 16:{number:02}"
    properties = {"Helicone-Session-Id": "tour-5", "Helicone-Session-Name": "Castle tour",
                  "Helicone-Session-Path": "/tour/ask", "ticket": "family"}  # fmt: skip
    return {
        "response_id": f"b3c1f7a0-0000-4000-9000-{number:012}",
        "response_body": response,
        "response_created_at": f"{minute}:01.250",
        "response_status": status,
        "request_id": f"b3c1f7a0-0000-4000-8000-{number:012}",
        "request_body": request,
        "request_created_at": f"{minute}:00.000",
        "request_user_id": "visitor-9",
        "request_properties": properties,
        "provider": "OPENAI",
        "delay_ms": 1250,
        "request_model": "gpt-4.1",
        "prompt_tokens": 30,
        "completion_tokens": 8,
        "total_tokens": 38,
        "cost": 0.00012,
        "country_code": "PT",
        "scores": {},
        "properties": properties,
        "target_url": "https://api.openai.com/v1/chat/completions",
        "cache_reference_id": "00000000-0000-0000-0000-000000000000",
        "updated_at": f"{minute}:02.000",
        "storage_location": "s3",
    } | more


def helicone_rows() -> list[dict[str, Any]]:
    """A tour of a castle by three APIs: two requests of one session, a call of a tool, an error, and no bodies."""
    system = {"role": "system", "content": "You are the guide of a castle."}
    first = [system, {"role": "user", "content": "Who built it?"}]
    built = {"role": "assistant", "content": "King Dinis, around 1300."}
    alone: dict[str, Any] = {"request_properties": {"Environment": "staging"}, "properties": {"Environment": "staging"}}
    absent = {"helicone_message": "fetching body from signed_url..."}

    def chosen(message: dict[str, Any]) -> dict[str, Any]:
        return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return [
        helicone_row(1, {"model": "gpt-4.1", "messages": first}, chosen(built)),
        helicone_row(
            2, {"model": "gpt-4.1", "messages": [*first, built, {"role": "user", "content": "E a torre?"}]},
            chosen({"role": "assistant", "content": "A torre é mais antiga."}),
        ),
        helicone_row(
            3,
            {"model": "claude-sonnet-4", "system": "Be brief.", "messages": [
                {"role": "user", "content": "Is the tower open?"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "toolu_01", "name": "opening", "input": {"place": "tower"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_01", "content": "9 to 17"}]}]},
            {"type": "message", "role": "assistant", "stop_reason": "end_turn", "model": "claude-sonnet-4",
             "content": [{"type": "text", "text": "Yes, until 17:00."}]},
            provider="ANTHROPIC", request_model="claude-sonnet-4",
            target_url="https://api.anthropic.com/v1/messages", **alone,
        ),
        helicone_row(
            4, {"model": "gpt-5", "instructions": "Be brief.", "input": "Show me the map."},
            {"object": "response", "error": None, "output": [
                {"type": "reasoning", "id": "rs_01", "summary": []},
                {"type": "function_call", "call_id": "call_01", "name": "show_map", "arguments": '{"floor": 1}'}]},
            request_model="gpt-5", target_url="https://api.openai.com/v1/responses", **alone,
        ),
        helicone_row(
            5, {"model": "gpt-4.1", "messages": first}, {"error": {"message": "Rate limit reached", "code": 429}},
            status=429, cost=0, prompt_tokens=0, completion_tokens=0, total_tokens=0, **alone,
        ),
        helicone_row(6, absent, absent, **alone),
    ]  # fmt: skip


def write_requests(folder: Path) -> None:
    """opik_trace_*.json and helicone_requests.jsonl"""
    for name, trace in opik_traces().items():
        (folder / name).write_text(json.dumps(trace, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in helicone_rows())
    (folder / "helicone_requests.jsonl").write_text(lines, encoding="utf-8")


def mlflow_span(trace: int, number: int, name: str, kind: str, ms: tuple[int, int | None], *, parent: int | None = 1,
                error: str | None = None, **attributes: Any) -> dict[str, Any]:  # fmt: skip
    """A span as MLflow 3 writes it: ids in base64, times in ns from `ms` after the trace began, attributes as JSON."""

    def encoded(value: int, size: int) -> str:
        return base64.b64encode(value.to_bytes(size, "big")).decode()

    names = {"inputs": "mlflow.spanInputs", "outputs": "mlflow.spanOutputs", "model": "mlflow.llm.model",
             "usage": "mlflow.chat.tokenUsage", "cost": "mlflow.llm.cost"}  # fmt: skip
    values = {"mlflow.traceRequestId": f"tr-{trace:032x}", "mlflow.spanType": kind}
    values |= {names.get(key, key): value for key, value in attributes.items()}
    start = mlflow_start(trace) * 1_000_000
    event = {"name": "exception", "time_unix_nano": start + ms[0] * 1_000_000,
             "attributes": {"exception.type": "TimeoutError", "exception.message": error}}  # fmt: skip
    return {
        "trace_id": encoded(trace, 16),
        "span_id": encoded(trace * 256 + number, 8),
        "parent_span_id": None if parent is None else encoded(trace * 256 + parent, 8),
        "name": name,
        "start_time_unix_nano": start + ms[0] * 1_000_000,
        "end_time_unix_nano": None if ms[1] is None else start + ms[1] * 1_000_000,
        "events": [] if error is None else [event],
        "status": {
            "code": "STATUS_CODE_UNSET" if ms[1] is None else "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK",
            "message": "" if error is None else f"TimeoutError: {error}",
        },
        "attributes": {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()},
        "links": [],
    }


def mlflow_start(trace: int) -> int:
    """When a trace begins, in ms: two minutes after the one before it."""
    return 1_787_400_000_000 + trace * 120_000


def mlflow_trace(trace: int, state: str, *spans: dict[str, Any], session: str | None = None,
                 **more: Any) -> dict[str, Any]:  # fmt: skip
    """`Trace.to_dict()` of MLflow 3."""
    metadata = {"mlflow.trace_schema.version": "3", "mlflow.user": "deploy", "environment": "production"}
    metadata |= {} if session is None else {"mlflow.trace.session": session, "mlflow.trace.user": "reader-77"}
    ends = [span["end_time_unix_nano"] for span in spans]
    info = {
        "trace_id": f"tr-{trace:032x}",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "12"}},
        "request_time": datetime.fromtimestamp(mlflow_start(trace) / 1000, UTC).isoformat().replace("+00:00", "Z"),
        "state": state,
        "trace_metadata": metadata,
        "tags": {"mlflow.traceName": "library-desk", "branch": "old-town"},
    }
    if None not in ends:
        info["execution_duration_ms"] = (max(ends) - spans[0]["start_time_unix_nano"]) // 1_000_000
    return {"info": info | more, "data": {"spans": list(spans)}}


def mlflow_answer(trace: int, question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A question to the library's desk: what was found, and what a model made of it."""
    messages = [{"role": "system", "content": "You answer at the desk of a library."},
                {"role": "user", "content": question}]  # fmt: skip
    documents = [{"page_content": "Opening hours: 9 to 18.", "metadata": {"doc_uri": "hours.md"}, "id": "d-1"}]
    return mlflow_trace(
        trace, "OK",
        mlflow_span(trace, 1, "desk", "AGENT", (0, 900), parent=None, inputs={"question": question}, outputs=answer),
        mlflow_span(trace, 2, "search", "RETRIEVER", (10, 60), inputs={"query": question}, outputs=documents),
        mlflow_span(trace, 3, "answer", "CHAT_MODEL", (70, 890), inputs={"messages": messages, "temperature": 0.2},
                    outputs={"choices": [{"message": {"role": "assistant", "content": answer}}]}, model="gpt-4.1-mini",
                    usage={"input_tokens": 48, "output_tokens": 12, "total_tokens": 60},
                    cost={"input_cost": 0.0000192, "output_cost": 0.0000192, "total_cost": 0.0000384}),
        **more,
    )  # fmt: skip


def mlflow_traces() -> list[dict[str, Any]]:
    """Traces of a library's desk: a session of two, a failure, one still running, one judged, one of MLflow 2."""
    judged = {"assessment_id": "a-1", "assessment_name": "correct", "feedback": {"value": True}, "valid": True,
              "source": {"source_type": "HUMAN", "source_id": "ada"}, "rationale": "as in the leaflet"}  # fmt: skip
    old_attributes = {"mlflow.traceRequestId": "5f0c2b7e91d84a3c", "mlflow.spanType": "LLM",
                      "mlflow.spanInputs": "Summarise the house rules.", "mlflow.spanOutputs": "Be quiet."}  # fmt: skip
    return [
        mlflow_answer(1, "When do you close?", "At 18:00.", session="visit-208"),
        mlflow_answer(2, "And on Sundays?", "We are closed on Sundays.", session="visit-208"),
        mlflow_trace(
            3, "ERROR",
            mlflow_span(3, 1, "desk", "AGENT", (0, 5_000), parent=None, error="the catalogue did not answer",
                        inputs={"question": "Do you have “Emma”?"}),
            mlflow_span(3, 2, "catalogue", "TOOL", (5, 4_990), error="the catalogue did not answer",
                        inputs={"title": "Emma"}),
        ),
        mlflow_trace(
            4, "IN_PROGRESS",
            mlflow_span(4, 1, "desk", "AGENT", (0, None), parent=None, inputs={"question": "Please renew my books."}),
        ),
        mlflow_answer(5, "図書館は何時に閉まりますか。", "18時に閉まります。", assessments=[judged]),
        {
            "info": {
                "request_id": "5f0c2b7e91d84a3c", "experiment_id": "12", "timestamp_ms": mlflow_start(0),
                "execution_time_ms": 300, "status": "OK", "request_metadata": {"mlflow.trace_schema.version": "2"},
                "tags": {"mlflow.traceName": "house-rules"},
            },
            "data": {
                "spans": [{
                    "name": "rules", "context": {"span_id": "00000000000000a1", "trace_id": f"{0xA1:032x}"},
                    "parent_id": None, "start_time": mlflow_start(0) * 1_000_000,
                    "end_time": (mlflow_start(0) + 300) * 1_000_000, "status_code": "OK", "status_message": "",
                    "attributes": {key: json.dumps(value) for key, value in old_attributes.items()}, "events": [],
                }],
                "request": '"Summarise the house rules."', "response": '"Be quiet."',
            },
        },
    ]  # fmt: skip


def mlflow_row(trace: dict[str, Any]) -> dict[str, Any]:
    """The row that `search_traces()` of MLflow 3 makes of a trace."""
    info, spans = trace["info"], trace["data"]["spans"]
    return {
        "trace_id": info["trace_id"],
        "trace": json.dumps(trace),
        "client_request_id": None,
        "state": info["state"],
        "request_time": mlflow_start(int(info["trace_id"][3:], 16)),
        "execution_duration": info["execution_duration_ms"],
        "request": json.loads(spans[0]["attributes"]["mlflow.spanInputs"]),
        "response": json.loads(spans[0]["attributes"]["mlflow.spanOutputs"]),
        "trace_metadata": info["trace_metadata"],
        "tags": info["tags"],
        "spans": spans,
        "assessments": [],
    }


def write_mlflow(folder: Path) -> None:
    """mlflow_traces.jsonl and mlflow_search_traces.parquet"""
    lines = "".join(json.dumps(trace, ensure_ascii=False) + "\n" for trace in mlflow_traces())
    (folder / "mlflow_traces.jsonl").write_text(lines, encoding="utf-8")
    rows = [
        mlflow_row(mlflow_answer(21, "Is there a reading room?", "Yes, on the first floor.", session="visit-209")),
        mlflow_row(mlflow_answer(22, "May I bring tea? 🍵", "Only with a lid.", session="visit-209")),
        mlflow_row(mlflow_answer(23, "Where is the toilet?", "Beside the stairs.")),
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "mlflow_search_traces.parquet", compression="zstd")


def write_all(folder: Path) -> None:
    """Every file that is written here, into `folder`."""
    write_langfuse(folder)
    write_openai(folder)
    write_requests(folder)
    write_mlflow(folder)
    pq.write_table(pa.Table.from_pylist(lmsys_rows()), folder / "chat_lmsys.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(wildchat_rows()), folder / "chat_wildchat.parquet", compression="zstd")


if __name__ == "__main__":
    write_all(HERE)
