"""Writes the binary files in this folder: `.venv/bin/python sample_data/generate.py`. The text files are by hand."""

from __future__ import annotations

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


def write_all(folder: Path) -> None:
    """Every binary file, into `folder`."""
    write_langfuse(folder)
    write_openai(folder)
    pq.write_table(pa.Table.from_pylist(lmsys_rows()), folder / "chat_lmsys.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(wildchat_rows()), folder / "chat_wildchat.parquet", compression="zstd")


if __name__ == "__main__":
    write_all(HERE)
