"""What is looked for in texts: ready-made rules and the user's own, on an engine of linear time (RE2).

| rule | finds |
|---|---|
| email | addresses, also with letters beyond ASCII |
| phone | international numbers (+34 …, 0034 …) and (555) 123-4567 |
| card | 13 to 19 digits, in groups or not, whose check digit is right (Luhn) |
| iban | account numbers whose check digits are right (ISO 13616) |
| token | bearer tokens, JSON web tokens, private keys, API keys with a known prefix, `api_key=…` and the like |
| ip | IPv4 and IPv6 addresses |
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import re2

from pipeline.config import READY_MADE_RULES
from pipeline.errors import UsageError

_PHONE_DIGITS = range(8, 16)
_CARD_DIGITS = range(13, 20)
_FOUR_NUMBERS = re.compile(r"\d+\.\d+\.\d+\.\d+(?=:)")
_IBAN_LENGTHS = range(34, 14, -1)


class Rule(NamedTuple):
    """A pattern and what is written in its place."""

    name: str
    pattern: Any
    replacement: str
    real_length: Callable[[str], int]
    """How many characters of a match are what was looked for; 0: none."""


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(text: str) -> int:
    digits = _digits(text)
    if len(digits) not in _CARD_DIGITS or digits[0] not in "23456":
        return 0
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return len(text) if sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0 else 0


def _is_iban(text: str) -> int:
    """Words may follow: the longest beginning that is one counts."""
    plain = [(index, char) for index, char in enumerate(text) if char not in " -"]
    for length in _IBAN_LENGTHS:
        if length <= len(plain):
            code = "".join(char for _, char in plain[:length]).upper()
            if int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1:
                return plain[length - 1][0] + 1
    return 0


def _is_phone(text: str) -> int:
    return len(text) if len(_digits(text)) in _PHONE_DIGITS else 0


def _is_ip(text: str) -> int:
    """A port or the end of a sentence may follow."""
    four = _FOUR_NUMBERS.match(text)
    for candidate in (text, text.rstrip("."), text.rstrip(":."), four.group() if four else ""):
        try:
            ipaddress.ip_address(candidate)
        except ValueError:
            continue
        return len(candidate)
    return 0


_READY: Mapping[str, tuple[str, Callable[[str], int]]] = {
    "token": (
        r"(?:(?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}"
        r"|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
        r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
        r"|\b(?:gsk|ghp|gho|ghs|ghu|ghr|hf|github_pat|npm|pypi|dop_v1|shpat)[_-][A-Za-z0-9_-]{16,}"
        r"|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
        r"|(?i:\b(?:api[_-]?key|apikey|secret|client_secret|access_token|refresh_token|token|password|passwd)\b)"
        r"[\"']?\s*[:=]\s*[\"']?[^\s\"',;&}]{6,}[\"']?)",
        len,
    ),
    "email": (r"[\p{L}\p{N}._%+'-]+@[\p{L}\p{N}](?:[\p{L}\p{N}-]*\.)+\p{L}{2,}", len),
    "iban": (r"(?i)\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b", _is_iban),
    "card": (r"\b\d(?:[ -]?\d){12,18}\b", _is_card),
    "phone": (r"(?:\+|\b00)\d[\d ().-]{6,18}\d\b|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[.-]\d{3}[.-]\d{4}\b", _is_phone),
    "ip": (r"[0-9A-Fa-f]{0,4}[:.][0-9A-Za-z_:.]+", _is_ip),
}
"""By the names of config.READY_MADE_RULES, whose order is that in which they are looked for: parts of a token look like
other things."""


def rules_of(wanted: tuple[Any, ...], where: str = "mapping.redact") -> tuple[Rule, ...]:
    """The rules for `mapping.redact`: names of ready-made ones, and `{name, pattern, replacement}`.

    Raises UsageError that names the pattern and what is wrong with it.
    """
    ready = [name for name in READY_MADE_RULES if name in wanted]
    own = [item for item in wanted if isinstance(item, Mapping)]
    return (*(_ready_rule(name) for name in ready), *(_own_rule(item, where) for item in own))


def _ready_rule(name: str) -> Rule:
    pattern, real_length = _READY[name]
    return Rule(name, _compiled(pattern), f"[{name}]", real_length)


def _own_rule(item: Mapping[str, str], where: str) -> Rule:
    try:
        pattern = _compiled(item["pattern"])
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise UsageError(
            f"{where}: the pattern {item['pattern']!r} is no regular expression that RE2 takes ({reason}); "
            "look-arounds and back-references are not among them"
        ) from error
    if pattern.search(""):
        raise UsageError(f"{where}: the pattern {item['pattern']!r} matches the empty text, and so everywhere")
    return Rule(item["name"], pattern, item.get("replacement") or f"[{item['name']}]", len)


@functools.cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def replace_in(text: str, rule: Rule, written: Callable[[Rule, str], str]) -> tuple[str, int]:
    """The text with what the rule finds replaced by `written(rule, found)`, and how often."""
    if rule.pattern.search(text) is None:
        return text, 0
    pieces: list[str] = []
    count = at = 0
    for match in rule.pattern.finditer(text):
        length = rule.real_length(match.group())
        if length:
            pieces += (text[at : match.start()], written(rule, match.group()[:length]))
            at = match.start() + length
            count += 1
    return "".join((*pieces, text[at:])), count
