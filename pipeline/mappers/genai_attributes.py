"""The names that attributes have: which tell the same thing, and which of them counts.

Sources: opentelemetry-semantic-conventions 0.66b2 (gen_ai_attributes), opentelemetry-semantic-conventions-ai 0.5.1
(Traceloop's OpenLLMetry), opentelemetry-util-genai 1.3b0, strands-agents 1.62.0 telemetry/tracer.py, google-adk 2.13.0
telemetry/tracing.py, langfuse 5.0.4 _client/attributes.py, openinference-semantic-conventions 0.1.42, galtea 5.12.0
infrastructure/telemetry/attributes.py, vercel/ai's documentation of telemetry, and what Langfuse's OTLP ingestion reads
(langfuse/langfuse packages/shared/src/server/otel); formats.md 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping

_TRACELOOP = "traceloop.association.properties"
KEYS: dict[str, tuple[str, ...]] = {
    "input": (
        "galtea.span.input", "galtea.trace.input", "langfuse.observation.input", "gen_ai.input.messages",
        "gen_ai.tool.call.arguments", "gen_ai.prompt", "ai.prompt.messages", "ai.prompt", "ai.toolCall.args",
        "ai.value", "ai.values", "gcp.vertex.agent.llm_request", "gcp.vertex.agent.tool_call_args",
        "gcp.vertex.agent.data", "traceloop.entity.input", "gen_ai.tool.args", "gen_ai.retrieval.query.text",
        "mlflow.spanInputs", "llm.input_messages", "input.value", "tool_arguments", "gen_ai.input",
        "pydantic_ai.all_messages", "all_messages_events", "input",
    ),
    "output": (
        "galtea.span.output", "galtea.trace.output", "langfuse.observation.output", "gen_ai.output.messages",
        "gen_ai.tool.call.result", "gen_ai.completion", "ai.response.text", "ai.result.text", "ai.response.object",
        "ai.result.object", "ai.response.toolCalls", "ai.result.toolCalls", "ai.toolCall.result", "ai.embedding",
        "ai.embeddings", "gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_response", "traceloop.entity.output",
        "gen_ai.output", "gen_ai.retrieval.documents", "mlflow.spanOutputs", "retrieval.documents",
        "llm.output_messages", "output.value", "tool_response", "final_result", "output",
    ),
    "system": ("gen_ai.system_instructions",),
    "model": (
        "langfuse.observation.model.name", "gen_ai.response.model", "ai.response.model", "llm.response.model_name",
        "gen_ai.request.model", "ai.model.id", "llm.request.model_name", "llm.model_name", "embedding.model_name",
        "reranker.model_name",
    ),
    "tokens.input": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens",
        "llm.token_count.prompt", "llm.usage.prompt_tokens", "ai.usage.tokens",
    ),
    "tokens.output": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "ai.usage.outputTokens",
        "ai.usage.completionTokens", "llm.token_count.completion", "llm.usage.completion_tokens",
    ),
    "tokens.total": (
        "gen_ai.usage.total_tokens", "llm.usage.total_tokens", "ai.usage.totalTokens", "llm.token_count.total",
    ),
    "tokens.cache_read_input_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "ai.usage.cachedInputTokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "tokens.cache_creation_input_tokens": (
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_write_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "tokens.reasoning_output_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens",
        "ai.usage.reasoningTokens", "llm.token_count.completion_details.reasoning",
    ),
    "usage": ("langfuse.observation.usage_details",),
    "cost": ("gen_ai.usage.cost", "gen_ai.usage.total_cost", "operation.cost", "llm.cost.total"),
    "cost_details": ("langfuse.observation.cost_details",),
    "cost_input": ("gen_ai.usage.input_cost", "llm.cost.prompt"),
    "cost_output": ("gen_ai.usage.output_cost", "llm.cost.completion"),
    "error": ("galtea.span.error", "galtea.trace.error"),
    "level": ("langfuse.observation.level",),
    "level_message": ("langfuse.observation.status_message",),
    "observation_metadata": ("langfuse.observation.metadata",),
    "conversation": (
        "galtea.session.custom_id", "gen_ai.conversation.id", "langfuse.session.id", "session.id",
        f"{_TRACELOOP}.session_id", f"{_TRACELOOP}.chat_id", f"{_TRACELOOP}.thread_id",
        f"{_TRACELOOP}.conversation_id", "ai.telemetry.metadata.sessionId", "gcp.vertex.agent.session_id",
        "galtea.session.id",
    ),
    "user": (
        "langfuse.user.id", "user.id", "enduser.id", f"{_TRACELOOP}.user_id", "ai.telemetry.metadata.userId",
        "gen_ai.user", "llm.user",
    ),
    "tags": ("langfuse.trace.tags", "tag.tags", "ai.telemetry.metadata.tags"),
    "environment": ("langfuse.environment", "deployment.environment.name", "deployment.environment"),
    "release": ("langfuse.release",),
    "version": ("langfuse.version",),
    "trace_name": ("langfuse.trace.name",),
    "trace_input": ("langfuse.trace.input",),
    "trace_output": ("langfuse.trace.output",),
    "trace_metadata": ("langfuse.trace.metadata",),
}  # fmt: skip
IDS = ("conversation", "user", "release", "version")
OF_TRACE = frozenset([*IDS, "trace_input", "trace_output", "tags", "environment", "trace_name"])
"""What spans say of the whole trace, mostly each of them again."""
FIELD_OF = {key: (field, rank) for field, keys in KEYS.items() for rank, key in enumerate(keys)}
DECODED = frozenset(
    ["input", "output", "system", "usage", "cost_details", "tags", "trace_input", "trace_output", "trace_metadata",
     "observation_metadata"]
)  # fmt: skip
OF_TRACE_METADATA = "langfuse.trace.metadata."
OF_OWN_METADATA = "langfuse.observation.metadata."
USAGE = "gen_ai.usage."
PREFIXES = (OF_TRACE_METADATA, OF_OWN_METADATA, USAGE)
"""What follows is a name of the user's, or of the model's maker."""

_IDENTICAL = {
    name.lower(): name
    for name in ("AGENT", "TOOL", "CHAIN", "RETRIEVER", "EMBEDDING", "GUARDRAIL", "EVALUATOR", "GENERATION", "EVENT")
}
_OPERATIONS = dict.fromkeys(
    ("chat", "completion", "text_completion", "generate_content", "generate", "call_llm"), "GENERATION"
) | {"embeddings": "EMBEDDING", "retrieval": "RETRIEVER", "execute_tool": "TOOL", "invoke_workflow": "CHAIN",
     "invoke_agent": "AGENT", "create_agent": "AGENT"}  # fmt: skip
_VERCEL = {
    "ai.generatetext.dogenerate": "GENERATION", "ai.streamtext.dostream": "GENERATION",
    "ai.generateobject.dogenerate": "GENERATION", "ai.streamobject.dostream": "GENERATION",
    "ai.embed.doembed": "EMBEDDING", "ai.embedmany.doembed": "EMBEDDING", "ai.toolcall": "TOOL",
    "ai.generatetext": "CHAIN", "ai.streamtext": "CHAIN", "ai.generateobject": "CHAIN", "ai.streamobject": "CHAIN",
    "ai.embed": "CHAIN", "ai.embedmany": "CHAIN",
}  # fmt: skip
TYPES: dict[str, Mapping[str, str]] = {
    "galtea.span.type": _IDENTICAL,
    "galtea.trace.type": _IDENTICAL,
    "langfuse.observation.type": _IDENTICAL,
    "openinference.span.kind": _IDENTICAL | {"llm": "GENERATION", "reranker": "SPAN", "prompt": "SPAN"},
    "gen_ai.operation.name": _OPERATIONS,
    "ai.operationId": _VERCEL,
    "traceloop.span.kind": {"workflow": "CHAIN", "task": "CHAIN", "agent": "AGENT", "tool": "TOOL"},
    "llm.request.type": {"chat": "GENERATION", "completion": "GENERATION", "embedding": "EMBEDDING"},
}
"""The first that holds a known value tells the type of a span."""
MESSAGES = frozenset(["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion"])
