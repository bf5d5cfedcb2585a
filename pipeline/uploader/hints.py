"""What headers tell about the API's limit: hints. What is accepted counts; garbage says nothing.

Sources: RFC 9110, 10.2.3 (Retry-After); draft-ietf-httpapi-ratelimit-headers, up to -06 (RateLimit-Limit, -Remaining,
-Reset: `10, 10;w=1`) and from -07 on (RateLimit, RateLimit-Policy: `"default";q=100;w=60`); X-RateLimit-* as GitHub and
others send them, with a reset in seconds or as an epoch.

`Remaining` is not used. A bucket's says how full it is at this moment and nothing of how fast it fills: where a limit
of 40/s holds one request at a time, every answer says "0 left, reset in 1 s", and who waited for it would send 1/s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_NUMBER = re.compile(r"\s*\d{1,15}(\.\d{1,9})?\s*")
_PARAMETER = re.compile(r';\s*([a-z]+)\s*=\s*"?(\d{1,12}(?:\.\d{1,9})?)')
_FIRST_NUMBER = re.compile(r"\s*(\d{1,12})\s*;")
_T = re.compile(r"[;,\s](?:t|reset)\s*=\s*(\d{1,12})")
MAX_TEXT = 500


def wait_of(headers: Mapping[str, str]) -> str | None:
    """How long a refusal says to wait, unparsed (retry.parse_retry_after reads seconds, dates and epochs)."""
    told = headers.get("retry-after")
    if told is not None:
        return told
    for name in _RESETS:
        text = headers.get(name)
        if text is not None and _NUMBER.fullmatch(text[:MAX_TEXT]):
            return text.strip()
    found = _T.search(headers.get("ratelimit", "")[:MAX_TEXT])
    return found[1] if found is not None else None


def policy_text(headers: Mapping[str, str]) -> str | None:
    """The header that may hold a quota and its window; two look-ups, for it is asked of every answer."""
    return headers.get("ratelimit-policy") or headers.get("ratelimit-limit")


def quota_per_second(text: str) -> float | None:
    """Requests a second by a policy, the strictest if there are several; None where it names no window."""
    rates = []
    for member in text[:MAX_TEXT].split(","):
        parameters = dict(_PARAMETER.findall(member))
        first = _FIRST_NUMBER.match(member)
        quota = parameters.get("q") or (first[1] if first is not None else None)
        window = parameters.get("w")
        if quota is not None and window is not None and float(window) > 0 and float(quota) > 0:
            rates.append(float(quota) / float(window))
    return min(rates, default=None)
