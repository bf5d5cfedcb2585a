"""Valid records of every format, with something in each field: what the other tests damage, mark and tear apart."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.mappers import otlp_records

OBSERVATION = {
    "id": "o1", "traceId": "t1", "projectId": "p", "parentObservationId": None, "type": "GENERATION", "name": "call",
    "startTime": "2026-08-22T08:00:00.000Z", "endTime": "2026-08-22T08:00:01.000Z", "level": "ERROR",
    "statusMessage": "no", "model": "m", "usageDetails": {"input": "12", "output": 3}, "costDetails": {"total": 0.1},
    "totalCost": 0.1, "inputUsage": 12, "usage": {"input": 1, "unit": "TOKENS"}, "input": '{"a": 1}',
    "output": '"x"', "metadata": '{"k": "v"}', "updatedAt": "2026-08-22T08:00:02.000Z",
}  # fmt: skip
LANGFUSE = {
    "id": "t1", "timestamp": "2026-08-22T08:00:00.000Z", "name": "n", "sessionId": "s", "userId": "u", "release": "r",
    "version": "v", "environment": "e", "tags": ["a"], "public": False, "bookmarked": True, "input": '{"q": 1}',
    "output": "a", "metadata": {"k": 1}, "projectId": "p", "updatedAt": "2026-08-22T08:00:05.000Z", "latency": 1.5,
    "totalCost": "0.25", "usageDetails": {"total": 5}, "observations": [OBSERVATION], "scores": [{"value": 1}],
}  # fmt: skip
MLFLOW_SPAN = {
    "trace_id": "CvdlGRbNQ92ESOshHIAxnA==", "span_id": "AAAAAAAAAKo=", "parent_span_id": None, "name": "n",
    "start_time_unix_nano": 1787385600000000000, "end_time_unix_nano": 1787385601000000000,
    "events": [{"name": "exception", "time_unix_nano": 1, "attributes": {"exception.message": "m"}}],
    "status": {"code": "STATUS_CODE_ERROR", "message": ""}, "links": [],
    "attributes": {
        "mlflow.traceRequestId": '"tr-1"', "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"m"',
        "mlflow.spanInputs": '{"messages": [{"role": "system", "content": "s"}]}', "mlflow.spanOutputs": '"a"',
        "mlflow.chat.tokenUsage": '{"input_tokens": 1}', "mlflow.llm.cost": '{"total_cost": 0.5}', "k": "0.5",
    },
}  # fmt: skip
MLFLOW = {
    "info": {
        "trace_id": "tr-1",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}},
        "request_time": "2026-08-22T08:00:00.000Z", "state": "OK", "execution_duration_ms": 5, "request_preview": "q",
        "trace_metadata": {"mlflow.trace.session": "s", "mlflow.trace.tokenUsage": "{", "mlflow.traceInputs": '"q"'},
        "tags": {"mlflow.traceName": "n", "k": "v"}, "assessments": [{"feedback": {"value": 1}}],
    },
    "data": {"spans": [MLFLOW_SPAN, {**MLFLOW_SPAN, "span_id": "b", "parent_span_id": "AAAAAAAAAKo="}]},
}  # fmt: skip
MLFLOW_SPAN_2X = {
    "name": "n", "context": {"span_id": "aa", "trace_id": "bb"}, "parent_id": None, "start_time": 1, "end_time": 2,
    "status_code": "OK", "status_message": "", "attributes": MLFLOW_SPAN["attributes"], "events": [],
}  # fmt: skip
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SPAN = {
    "id": "s1", "trace_id": "t1", "project_id": "p", "parent_span_id": None, "type": "llm", "name": "call",
    "start_time": "2026-08-22 08:00:00+00:00", "end_time": "2026-08-22 08:00:01+00:00", "input": {"q": 1},
    "output": "a", "metadata": {"k": 1}, "model": "m", "provider": "openai", "tags": ["a"], "duration": 1000.0,
    "usage": {"prompt_tokens": 1, "original_usage.prompt_tokens": 1}, "total_estimated_cost": 0.1,
    "error_info": {"exception_type": "E", "message": "no", "traceback": "t"},
    "last_updated_at": "2026-08-22 08:00:02+00:00",
}  # fmt: skip
OPIK = {
    key: SPAN[key]
    for key in ("project_id", "name", "start_time", "end_time", "input", "output", "metadata", "tags", "error_info",
                "usage", "total_estimated_cost", "duration", "last_updated_at")
} | {"id": "t1", "thread_id": "c", "environment": "e", "feedback_scores": [{"name": "n", "value": 1}]}  # fmt: skip
OPIK_ROW = {
    "trace_id": "t1", "trace_start_time": "2026-08-22 08:00:00.250000+00:00", "trace_input_q": "hi",
    "trace_tags": "['a']", "trace_metadata": None, "trace_usage_total_tokens": "3",
    "trace_last_updated_at": "2026-08-22 08:00:02+00:00", "span_id": "s1", "span_trace_id": "t1",
    "span_parent_span_id": None, "span_start_time": "2026-08-22 08:00:00+00:00",
    "span_end_time": "2026-08-22 08:00:01+00:00", "span_type": "llm", "span_project_name": "n",
}  # fmt: skip
HELICONE = {
    "request_id": "r1", "request_created_at": "2026-08-22 08:00:00.250", "response_created_at": "2026-08-22 08:00:01",
    "response_status": 200, "request_user_id": "u", "delay_ms": 750, "cost": 0.1, "prompt_tokens": "12",
    "completion_tokens": 3, "reasoning_tokens": 0, "request_model": "m", "response_model": "m2", "provider": "OPENAI",
    "request_properties": {"Helicone-Session-Id": "s", "Helicone-Session-Path": "/a", "Environment": "e", "k": "v"},
    "properties": {"k": "v"}, "asset_urls": {"a": "https://x.test/?s=1"}, "signed_body_url": "https://x.test/?s=1",
    "updated_at": "2026-08-22 08:00:02", "scores": {"n": 1}, "helicone_user": None,
}  # fmt: skip
BODIES: list[dict[str, Any]] = [
    {
        "request_body": {
            "messages": [
                {"role": "system", "content": "s", "name": "n"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "r"},
            ]
        },
        "response_body": {"choices": [{"message": {"role": "assistant", "content": "a", "refusal": None}}]},
    },
    {
        "request_body": {
            "instructions": "i",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "r"},
                {"type": "reasoning", "summary": []},
            ],
        },
        "response_body": {
            "output": [
                {"type": "reasoning", "id": "rs"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            ]
        },
    },
    {
        "request_body": {
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]},
            ],
        },
        "response_body": {
            "type": "message",
            "content": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "c2", "name": "f", "input": {}}],
        },
    },
    {"request_body": {"helicone_message": "…"}, "response_body": {"error": {"message": "no"}}},
]
BRAINTRUST = {
    "id": "r1", "span_id": "s1", "root_span_id": "t1", "span_parents": ["s0", "s00"], "is_root": False, "log_id": "g",
    "_xact_id": "1000195000000000001", "_pagination_key": "p1", "created": "2026-08-22T08:00:00.000Z",
    "org_id": "o", "project_id": "p", "input": [{"role": "user", "content": "q"}], "output": '{"a": 1}',
    "expected": "a", "error": {"name": "E"}, "scores": {"exact": 0.5, "why": "w"}, "tags": ["a"],
    "metadata": {"model": "m", "session_id": "c", "user_id": 7, "k": {"k": "v"}},
    "metrics": {"start": 1787385600.25, "end": 1787385601.5, "prompt_tokens": 3, "completion_tokens": "5",
                "estimated_cost": 0.1, "time_to_first_token": 0.5},
    "context": {"caller_filename": "f", "span_origin": {"environment": {"name": "e"}}},
    "span_attributes": {"name": "n", "type": "llm", "exec_counter": 1}, "comments": [{"text": "c"}],
}  # fmt: skip
WEAVE = {
    "id": "s1", "trace_id": "t1", "parent_id": "s0", "project_id": "e/p", "op_name": "weave:///e/p/op/chat:v1",
    "display_name": "n", "thread_id": "c", "turn_id": "s0", "started_at": "2026-08-22T08:00:00.000Z",
    "ended_at": "2026-08-22T08:00:01Z", "exception": "E: no", "wb_user_id": "w", "wb_run_step": 1,
    "attributes": {"weave": {"kind": "llm", "client_version": "0.54.0"}, "user_id": "u", "env": "e"},
    "inputs": {"self": "weave:///e/p/object/x:v1", "model": "m", "messages": [{"role": "user", "content": "q"}]},
    "output": {"choices": [{"message": {"role": "assistant", "content": "a"}}]},
    "summary": {"usage": {"m": {"prompt_tokens": 3, "input_tokens": 3, "requests": 1, "details": {"k": "v"}}},
                "status_counts": {"success": 1},
                "weave": {"status": "success", "latency_ms": 1, "trace_name": "n",
                          "costs": {"m": {"prompt_tokens_total_cost": 0.1, "provider_id": "openai"}}}},
}  # fmt: skip
DATADOG = {
    "id": "s1", "type": "span",
    "attributes": {
        "trace_id": "t1", "span_id": "s1", "parent_id": "undefined", "name": "n", "span_kind": "llm", "ml_app": "p",
        "start_ns": 1787385600250000000, "duration": 1.5e9, "status": "error", "session_id": "c",
        "input": {"value": "q", "messages": [{"role": "user", "content": "q"}]}, "output": {"value": '{"a": 1}'},
        "model_name": "m", "model_provider": "openai", "metadata": {"k": "v"}, "intent": "i",
        "metrics": {"input_tokens": 3.0, "estimated_total_cost": 7500, "time_to_first_token": 0.5},
        "tags": ["env:e", "version:1", "user_id:u", "service:s", "error:1", "error_type:E", "session_id:c"],
        "evaluation": {"e": {"value": "v", "reasoning": "r"}}, "tool_definitions": [{"name": "t"}],
    },
}  # fmt: skip
DATADOG_EVENT = {
    "trace_id": "t1", "span_id": "s2", "parent_id": "s1", "name": "n", "start_ns": "1787385600250000000",
    "duration": 1, "status": "ok", "tags": ["ml_app:p"], "metrics": {"total_cost": 0.5}, "_dd": {"apm_trace_id": "x"},
    "meta": {"span": {"kind": "retrieval", "k": "v"}, "error": {"message": "m", "type": "E", "stack": "s"},
             "output": {"documents": [{"text": "d"}]}, "input": {"value": "q", "parameters": {"k": "v"}}},
}  # fmt: skip
RUN = {
    "id": "r1", "trace_id": "r1", "parent_run_id": None, "dotted_order": "20260822T080000000000Zr1", "name": "n",
    "run_type": "llm", "start_time": "2026-08-22T08:00:00.000250", "end_time": "2026-08-22T08:00:01+00:00",
    "status": "success", "error": None, "session_id": "p", "tags": ["a"], "is_root": True, "app_path": "/r",
    "inputs": {"messages": [[{"lc": 1, "id": ["HumanMessage"], "kwargs": {"content": "q"}}]]},
    "outputs": {
        "generations": [[{"text": "a", "message": {"kwargs": {"content": "a", "usage_metadata": {"k": 1}}}}]],
        "llm_output": {"token_usage": {"prompt_tokens": 1}, "model_name": "m"},
        "usage_metadata": {"input_tokens": 1, "input_token_details": {"cache_read": 1}, "total_cost": 0.1},
    },
    "extra": {
        "metadata": {"thread_id": "c", "user_id": "u", "ls_model_name": "m", "environment": "e", "revision_id": "v"},
        "invocation_params": {"model": "m"}, "runtime": {"library": "l"},
    },
    "events": [{"name": "start", "time": "x"}, {"name": "new_token", "kwargs": {"token": "a"}}, {"name": "mine"}],
    "feedback_stats": {"tone": {"n": 1, "avg": 0.5}}, "prompt_tokens": 1, "completion_tokens": "2", "total_tokens": 3,
    "prompt_token_details": {"raw": {"cache_read": 1}}, "total_cost": "0.10", "prompt_cost": 0.1,
    "inputs_s3_urls": {"ROOT": {"presigned_url": "/d?jwt=1"}}, "serialized": {"name": "n"}, "attachments": {"a": "b"},
}  # fmt: skip
CHILD_RUN = {
    "id": "r2", "trace_id": "r1", "dotted_order": "20260822T080000000000Zr1.20260822T080001000000Zr2", "name": "t",
    "run_type": "TOOL", "inputs": '{"input": "q"}', "outputs": '{"output": "a"}', "extra": "{}", "error": "no",
    "metadata": {"k": 1}, "custom_metadata": {"k": 2}, "token_usage": {"total_tokens": 1}, "costs": {"total_cost": 1},
    "parent_run_ids": ["r1"], "inputs_preview": "q", "latency_seconds": 1.5, "thread_id": "c",
}  # fmt: skip
UPDATE = {"id": "r1", "end_time": "2026-08-22T08:00:02Z", "outputs": {"output": "a"}, "extra": {"metadata": {"k": 1}}}
PHOENIX_SPAN: dict[str, Any] = {
    "id": "U3Bhbjox", "name": "n", "context": {"trace_id": "t1", "span_id": "s1", "trace_state": "x"},
    "span_kind": "LLM", "parent_id": None, "start_time": "2026-08-22T08:00:00+00:00",
    "end_time": "2026-08-22T08:00:01+00:00", "status_code": "ERROR", "status_message": "m",
    "attributes": {
        "openinference.span.kind": "LLM", "input.value": '{"a": 1}', "input.mime_type": "application/json",
        "output.value": "a", "llm.model_name": "m", "llm.invocation_parameters": '{"t": 1}', "session.id": "s",
        "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "q",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "f", "user.id": "u",
        "llm.input_messages.2.message.contents.0.message_content.image.image.url": "u",
        "llm.token_count.prompt": 1, "llm.cost.total": 0.5, "metadata": '{"k": "v"}', "metadata.a.0.b": 1,
        "tag.tags": ["a"], "retrieval.documents": [{"document.content": "c", "document.metadata": '{"k": 1}'}],
        "trace.annotations.0.annotation.name": "n", "custom": {"a": [{"b": 1}]},
    },
    "events": [{"name": "exception", "timestamp": "2026-08-22T08:00:00+00:00", "attributes": {"exception.type": "E"}}],
    "annotations": [{"name": "n", "result": {"score": 1}}], "conversation": {"conversation_id": "c"},
}  # fmt: skip
PHOENIX_ROW = {
    **{key: PHOENIX_SPAN[key] for key in PHOENIX_SPAN if key not in ("context", "attributes", "id")},
    "context.trace_id": "t1", "context.span_id": "s2", "__index_level_0__": "s2",
    **{f"attributes.{key}": value for key, value in PHOENIX_SPAN["attributes"].items()},
}  # fmt: skip
LANGFUSE_ROW = {
    "id": "o1", "trace_id": "t1", "project_id": "p", "parent_observation_id": "t-t1", "type": "GENERATION",
    "start_time": "2026-08-22 08:00:00.000000", "end_time": "2026-08-22 08:00:01.000000", "name": "n",
    "level": "ERROR", "status_message": "no", "user_id": "u", "session_id": "s", "is_root_observation": True,
    "metadata": {"k": "v"}, "provided_model_name": "m", "usage_details": {"input": 1}, "cost_details": '{"total": 1}',
    "total_cost": 0.5, "tags": ["a"], "release": "r", "trace_name": "n", "input": "q", "output": '"a"',
    "updated_at": "2026-08-22 08:00:02.000000", "tool_calls": ["{}"], "bookmarked": False,
}  # fmt: skip
LANGFUSE_SCORE = {
    "id": "s1", "trace_id": "t1", "observation_id": "o1", "name": "n", "value": 1, "source": "API",
    "data_type": "NUMERIC", "timestamp": "2026-08-22 08:00:00.000000", "comment": "c", "session_id": None,
}  # fmt: skip
VALID: dict[str, list[Any]] = {
    "braintrust": [BRAINTRUST, {**BRAINTRUST, "span_parents": None, "is_root": True}],
    "weave": [
        WEAVE,
        {"id": "1", "trace_id": "t1", "op_name": "f", "started_at": "2026-08-22", "inputs.q": "a", "inputs.a.b": "[1]",
         "inputs.a": "", "summary.usage.gpt-4.1.prompt_tokens": 3, "summary.weave.latency_ms": 1},
    ],
    "datadog": [DATADOG, DATADOG["attributes"], DATADOG_EVENT, {**DATADOG_EVENT, "parent_id": None}],
    "langfuse": [
        LANGFUSE,
        {"trace": {key: LANGFUSE[key] for key in ("id", "timestamp", "input")}, "observations": [OBSERVATION] * 2},
    ],
    "chat": [
        {
            "id": "1", "created": 1787000000, "model": "m", "usage": {"prompt_tokens": 1}, "metadata": {"k": 1},
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL], "function_call": {"name": "g"}},
                {"role": "tool", "tool_call_id": "c1", "content": "r"},
                {"role": "assistant", "content": "a", "timestamp": "2026-01-01"},
            ],
        },
        {"id": "identity_0", "system": "s", "conversations": [{"from": "human", "value": "q"}]},
        {
            "conversation_hash": "h", "timestamp": "2026-01-01 00:00:00",
            "conversation": [{"role": "user", "content": "q", "turn_identifier": 7}],
        },
        {
            "task_id": 1, "trial": 0, "reward": 1.0, "info": {"error": "e", "task": {"instruction": "i"}},
            "traj": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
        },
    ],
    "opik": [{"trace": OPIK, "spans": [SPAN, {**SPAN, "id": "s2"}], "downloaded_at": "x", "project_name": "n"}],
    "helicone": [{**HELICONE, **bodies} for bodies in BODIES],
    "openinference": [
        PHOENIX_SPAN,
        PHOENIX_ROW,
        {"data": [PHOENIX_SPAN, PHOENIX_ROW], "next_cursor": None},
        {"traceId": "t1", "spans": [PHOENIX_SPAN], "rootSpan": PHOENIX_SPAN, "status": "OK", "notes": [{"name": "n"}]},
        {"data": [{"trace_id": "t1", "id": "a", "annotator_kind": "HUMAN", "result": {}}, PHOENIX_SPAN]},
    ],
    "mlflow": [
        MLFLOW,
        {"trace_id": "tr-1", "trace": json.dumps(MLFLOW), "state": "OK", "request_time": 5, "request": {"q": 1}},
        {
            "request_id": "r", "timestamp_ms": 5, "status": "ERROR", "execution_time_ms": 1, "request": "q",
            "request_metadata": {"k": "v"}, "spans": [MLFLOW_SPAN_2X], "tags": {"k": "v"},
        },
        {"spans": [MLFLOW_SPAN]},
    ],
    "otlp": otlp_records.VALID,
    "langsmith": [
        RUN,
        {"runs": [RUN, CHILD_RUN], "cursors": {"next": "x"}},
        {"post": [{key: RUN[key] for key in ("id", "start_time", "run_type", "inputs", "extra")}], "patch": [UPDATE]},
        {**RUN, "child_runs": [{"id": "r3", "name": "n", "run_type": "chain", "child_runs": [CHILD_RUN]}]},
        {**UPDATE, "dotted_order": RUN["dotted_order"]},
    ],
    "langsmith-fetch": [
        {
            "trace_id": "t1", "thread_id": None, "feedback": [{"key": "k", "score": 1}],
            "messages": [{"type": "human", "content": "q", "id": "m1"}, {"type": "ai", "content": "a"}],
            "metadata": {
                "status": "error", "start_time": "2026-08-22T08:00:00", "end_time": None, "duration_ms": 5,
                "custom_metadata": {"thread_id": "c", "user_id": "u", "ls_model_name": "m", "k": "v"},
                "token_usage": {"prompt_tokens": 1}, "costs": {"total_cost": "0.5"}, "feedback_stats": {"k": {"n": 1}},
            },
        },
    ],
    "langsmith-dataset": [
        {"inputs": {"messages": [{"role": "system"}]}, "outputs": {"output": "a"}, "metadata": {"k": 1}},
        {"id": "e1", "dataset_id": "d", "inputs": '{"input": "q"}', "attachments": {"a": {"presigned_url": "/d?j=1"}}},
    ],
    "custom": [
        {
            "id": 7, "conversation_id": "c", "name": "n", "started_at": 1787000000, "tags": ["a"],
            "status": "ok", "error": None, "system": "s", "input": {"q": 1}, "output": "a", "model": ["m"],
            "tokens": {"input": "3"}, "cost": "0.5", "metadata": {"k": 1}, "revision": 3, "user_id": 1,
            "messages": [{"role": "user", "content": "q"}], "turns": [{"input": 1, "tokens": 2, "cost": 1}],
        }
    ],
}  # fmt: skip
"""Records that `map_trace` takes, by format."""
PIECES: dict[str, list[Any]] = {
    "opik": [OPIK_ROW, {**OPIK_ROW, "span_id": "s2", "span_parent_span_id": "s1", "span_output_a": "b"}],
    "otlp": otlp_records.VALID,
    "openinference": [
        *VALID["openinference"],
        {**PHOENIX_SPAN, "annotations": [{"name": "n", "updated_at": "2026-08-22T08:00:03+00:00"}]},
        {"trace_id": "t1", "id": "a", "annotator_kind": "LLM", "updated_at": "2026-08-22T08:00:04+00:00"},
    ],
    "braintrust": [
        *VALID["braintrust"],
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in BRAINTRUST.items()},
        {**BRAINTRUST, "span_id": "s2", "_object_delete": True},
        {"events": [BRAINTRUST, {**BRAINTRUST, "span_id": "s0", "span_parents": None}], "cursor": "x"},
        {"data": [BRAINTRUST], "schema": {"type": "array"}, "cursor": None},
    ],
    "weave": [
        *VALID["weave"],
        {"calls": [WEAVE, {**WEAVE, "deleted_at": "2026-08-23"}, {**WEAVE, "id": "s0", "parent_id": None}]},
    ],
    "datadog": [
        *VALID["datadog"],
        {"data": [DATADOG, DATADOG_EVENT], "meta": {"page": {"after": "x"}}, "links": {"next": "x"}},
    ],
    "langfuse": [
        {**LANGFUSE, "observations": ["o1", "o2"], "scores": ["s1"]},
        LANGFUSE,
        {"trace": {key: LANGFUSE[key] for key in ("id", "timestamp", "input")}, "observations": [OBSERVATION]},
        LANGFUSE_ROW,
        {**LANGFUSE_ROW, "id": "t-t1", "parent_observation_id": "", "end_time": None},
        {**LANGFUSE_ROW, "id": "o2", "parent_observation_id": "o1", "updated_at": None},
        OBSERVATION | {"traceName": "n", "traceTags": ["a"], "traceTimestamp": "2026-08-22 08:00:00"},
        LANGFUSE_SCORE,
        {"id": "s2", "name": "n", "value": 1, "source": "EVAL", "subject": {"kind": "trace", "id": "t1"}},
        {"data": [OBSERVATION, LANGFUSE_SCORE], "meta": {"cursor": "x"}},
        {"id": "s", "createdAt": "2026-08-22", "projectId": "p", "traces": [LANGFUSE]},
    ],
    "langsmith": [
        RUN,
        CHILD_RUN,
        {**CHILD_RUN, "id": "r3", "dotted_order": None, "parent_run_id": "r1", "run_id": "r3"},
        {"runs": [RUN, CHILD_RUN], "cursors": {"next": "x"}, "trace_id": "r1"},
        {"post": [{key: RUN[key] for key in ("id", "start_time", "run_type", "inputs", "extra")}], "patch": [UPDATE]},
        {**RUN, "child_runs": [{"id": "r4", "name": "n", "run_type": "chain", "child_runs": [CHILD_RUN]}]},
        UPDATE,
    ],
}  # fmt: skip
"""Records of one trace in each, as they lie scattered, for the formats whose records may be pieces."""
