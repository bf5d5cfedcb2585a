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
    write_mlflow(folder)
    pq.write_table(pa.Table.from_pylist(lmsys_rows()), folder / "chat_lmsys.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(wildchat_rows()), folder / "chat_wildchat.parquet", compression="zstd")


if __name__ == "__main__":
    write_all(HERE)
