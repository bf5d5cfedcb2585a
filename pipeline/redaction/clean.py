"""A Trace becomes a Trace without what must not leave, and each rule is counted."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from pipeline.config import MappingConfig
from pipeline.models import Span, Trace, Turn
from pipeline.redaction.content import content_free
from pipeline.redaction.paths import parse_path, without
from pipeline.redaction.patterns import Rule, replace_in, rules_of

_Text = TypeVar("_Text", str, "str | None")
_SHORTEST_NUMBER = 10**7
"""A shorter one is no card and no account."""


class Redaction:
    """What the configuration wants out. Counts what it does; not to be shared between runs."""

    def __init__(self, config: MappingConfig, *, salt: bytes = b"", over_record: bool = False) -> None:
        """`over_record`: paths may be those of a record, too. Raises UsageError for a pattern or path that is none."""
        self._rules = rules_of(config.redact)
        self._paths = {parse_path(text, is_of_trace=not over_record): text for text in config.drop}
        self._is_content_free = config.content == "none"
        self._salt = salt
        rules = [*(rule.name for rule in self._rules), *self._paths.values(), *["content"] * self._is_content_free]
        self.counts = Counter(dict.fromkeys(rules, 0))
        """By rule (its name, the path, "content"): how often; 0 tells of one that found nothing, perhaps a typo."""

    @property
    def is_needed(self) -> bool:
        """Is there anything to take out at all?"""
        return bool(self._rules or self._paths or self._is_content_free)

    def trace(self, trace: Trace) -> Trace:
        """The trace as it may leave: before anything is made of it, and before it is joined with others."""
        if not self.is_needed:
            return trace
        if self._paths:
            trace = without(trace, self._paths, self.counts)
        if self._is_content_free:
            trace = content_free(trace)
            self.counts["content"] += 1
        return self._clean_trace(trace) if self._rules else trace

    def dropped(self, record: Any) -> Any:
        """A record (format: custom) as expressions may see it: without what lies at the paths to drop."""
        return without(record, self._paths, Counter()) if self._paths else record

    def value(self, value: Any) -> Any:
        """A value that an expression of the configuration made."""
        return self._clean(value) if self._rules else value

    def text(self, text: str) -> str:
        """A sentence about a record: it may quote it."""
        return self._clean_text(text) if self._rules else text

    def id(self, text: str | None) -> str | None:
        """An id as it may stand anywhere."""
        return self._clean_id(text) if self._rules and text is not None else text

    # --- patterns -----------------------------------------------------------------------------------------

    def _clean_trace(self, trace: Trace) -> Trace:
        """All but times, the revision (which must sort; it is never sent), the status and the types of spans."""
        return replace(
            trace,
            id=self._clean_id(trace.id),
            conversation_id=self._clean_id(trace.conversation_id),
            name=self._clean(trace.name),
            user_id=self._clean_id(trace.user_id),
            tags=tuple(self._clean_text(tag) for tag in trace.tags),
            environment=self._clean(trace.environment),
            release=self._clean(trace.release),
            version=self._clean(trace.version),
            error=self._clean(trace.error),
            system=self._clean(trace.system),
            turns=tuple(self._clean_turn(turn) for turn in trace.turns),
            models=tuple(self._clean_text(model) for model in trace.models),
            tokens=self._clean_kinds(trace.tokens),
            metadata=self._clean(trace.metadata),
            origin=self._clean(trace.origin),
            partial=self._clean(trace.partial),
        )

    def _clean_turn(self, turn: Turn) -> Turn:
        return replace(
            turn,
            input=self._clean(turn.input),
            output=self._clean(turn.output),
            retrieval_context=self._clean(turn.retrieval_context),
            error=self._clean(turn.error),
            tokens=self._clean_kinds(turn.tokens),
            spans=tuple(self._clean_span(span) for span in turn.spans),
        )

    def _clean_span(self, span: Span) -> Span:
        return replace(
            span,
            id=self._clean_id(span.id),
            parent_id=self._clean_id(span.parent_id),
            name=self._clean_text(span.name),
            input=self._clean(span.input),
            output=self._clean(span.output),
            error=self._clean(span.error),
            model=self._clean(span.model),
            tokens=self._clean_kinds(span.tokens),
            metadata=self._clean(span.metadata),
        )

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, Mapping):
            return {self._clean_key(key): self._clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(inner) for inner in value]
        if isinstance(value, int) and abs(value) >= _SHORTEST_NUMBER and not isinstance(value, bool):
            text = str(value) if value.bit_length() < 128 else ""
            cleaned = self._clean_text(text)
            return cleaned if cleaned != text else value
        return value

    def _clean_kinds(self, tokens: Mapping[str, int]) -> Mapping[str, int]:
        """Counts stay numbers, whatever they look like."""
        return {self._clean_key(kind): count for kind, count in tokens.items()}

    def _clean_key(self, key: Any) -> Any:
        # Two keys must not become one: what stands under them would be lost.
        return self._clean_id(key) if isinstance(key, str) else key

    def _clean_text(self, text: str) -> str:
        return self._replaced(text, lambda rule, found: rule.replacement)

    def _clean_id(self, text: _Text) -> _Text:
        """Two ids that differ must still differ, tonight and tomorrow: a hash of what was found takes its place."""
        if text is None:
            return text
        return self._replaced(text, lambda rule, found: f"[{rule.name}~{self._hash(found)}]")

    def _replaced(self, text: str, written: Callable[[Rule, str], str]) -> str:
        for rule in self._rules:
            text, count = replace_in(text, rule, written)
            if count:
                self.counts[rule.name] += count
        return text

    def _hash(self, found: str) -> str:
        return hmac.new(self._salt, found.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
