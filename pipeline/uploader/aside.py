"""The custom id of a session that makes way: no two of them get the same one."""

from __future__ import annotations

import hashlib

from pipeline.mappers.session import MAX_CUSTOM_ID


def aside_id(custom_id: str, end: str, *, session_id: str | None = None) -> str:
    """`<id>~<end>`. What does not fit is cut; where ids could then be alike, a hash of the whole id tells.

    With `session_id` it always does, and of that one, too: for an id that several sessions have had.
    """
    end = f"~{end}"
    if session_id is None and len(custom_id) + len(end) <= MAX_CUSTOM_ID:
        return custom_id + end
    end = f"~{hashlib.sha256(f'{custom_id} {session_id}'.encode()).hexdigest()[:16]}{end}"
    return custom_id[: MAX_CUSTOM_ID - len(end)] + end
