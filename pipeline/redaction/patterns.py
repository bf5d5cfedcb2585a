"""What is looked for in texts: ready-made rules and the user's own, on an engine of linear time (RE2).

| rule | finds |
|---|---|
| email | addresses, also with letters beyond ASCII, and in URLs (`ann%40example.com`) |
| phone | international numbers (+34 …, 0034 …) and (555) 123-4567 |
| card | 13 to 19 digits, in groups or not, whose check digit is right (Luhn) |
| iban | account numbers whose check digits are right (ISO 13616) |
| token | private keys, JSON web tokens, keys with a known prefix, `OPENAI_API_KEY=…`, and what logs in: headers, URLs |
| ip | IPv4 and IPv6 addresses |

The engine finds where something may be, and a function of the rule looks there, and no further than such a thing can
be long, for what it really is. So what stands beside it neither hides it nor goes with it, and it stays linear.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import re2

from pipeline.config import READY_MADE_RULES
from pipeline.errors import UsageError

Spans = Iterable[tuple[int, int]]


class Rule(NamedTuple):
    """Where to look in a text, and what is written in place of what is there."""

    name: str
    pattern: Any
    replacement: str
    spans: Callable[[str, Any], Spans]
    """What was looked for in a text, at a match of the pattern: from the first on; nothing, one or several."""
    needs: str = ""
    """Without one of these characters there is nothing to find: five times as fast as a search that finds nothing."""


def _whole(text: str, match: Any) -> Spans:
    yield match.span()


# --- token ------------------------------------------------------------------------------------------------------------

_PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-{1,4}[^-])*-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\]*)"
)
_QUOTE = r"""(?:\\*["'])"""  # JSON in a text has its quotes escaped, once or oftener
_SECRET_NAME = (
    r"(?i:(?:api|access|secret|private|auth|account|signing|encryption)[_-]?key|secret|token"
    r"|password|passwd|passphrase)"
)
_SCHEME = r"(?i:basic|bearer|token|apikey|digest|negotiate)"
_TOKEN = (
    r"(?:^|[^A-Za-z0-9])("
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|(?:gsk|ghp|gho|ghs|ghu|ghr|hf|github_pat|npm|pypi|dop_v1|shpat)[_-][A-Za-z0-9_-]{16,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}\b|AIza[0-9A-Za-z_-]{30,})"
    r"|((?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
    rf"|{_PRIVATE_KEY}"
    rf"|(?i:authorization){_QUOTE}?\s*[:=,]\s*{_QUOTE}?{_SCHEME}\s+[^\s\"'\\,;]{{6,}}{_QUOTE}?"
    rf"|{_SECRET_NAME}{_QUOTE}?\s*[:=]\s*{_QUOTE}?"
    rf"(?:{_PRIVATE_KEY}|(?:{_SCHEME}\s+)?(?:\\*[^\s\"'\\,;&}}]){{6,}}){_QUOTE}?)"
    r"|:(?:\\?/){2}([^\s/\\?#@\"'<>:]*:[^\s/\\?#\"'<>]+)@"
)


def _group(text: str, match: Any) -> Spans:
    """The one group that took part: a character before it belongs to the text."""
    yield next(span for span in map(match.span, range(1, match.re.groups + 1)) if span[0] >= 0)


# --- iban -------------------------------------------------------------------------------------------------------------

_IBAN_BEGINS = r"(?i)(?:^|[^A-Z0-9])([A-Z]{2}\d{2})"
_IBAN = re.compile(r"[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS: Mapping[str, int] = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "AO CV GW LY MZ PT ST", 26: "DZ IR IS TR", 27: "BI CF CG CM DJ FR GA GQ GR IT KM MC MG MR SM TD",
        28: "AL AZ BF BJ BY CI CY DO GT HN HU LB MA ML NE NI PL SN SV TG", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
        31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""The registry of ISO 13616, and countries of which banks write numbers of this kind without being in it."""
_IBAN_NUMBERS = str.maketrans({chr(ord("A") + place): str(10 + place) for place in range(26)})


def _iban(text: str, match: Any) -> Spans:
    """Words, or the next one, may follow: the country tells how long it is."""
    start = match.start(1)
    length = _IBAN_LENGTHS.get(match[1][:2].upper())
    longest = _IBAN.match(text, start) if length else None
    if not longest:
        return
    plain = [place for place, char in enumerate(longest[0]) if char not in " -"][:length]
    code = "".join(longest[0][place] for place in plain).upper()
    if len(code) == length and int((code[4:] + code[:4]).translate(_IBAN_NUMBERS)) % 97 == 1:
        yield start, start + plain[-1] + 1


# --- card -------------------------------------------------------------------------------------------------------------

_CARD_RUN = r"\d(?:[ -]?\d){12,}"
_CARDS = tuple(
    # Not within a word or behind a decimal point. Inside a lookahead, so that those that overlap are seen as well.
    re.compile(rf"(?<![0-9A-Za-z])(?<![0-9]\.)(?=({shape})(?![0-9A-Za-z]))", re.ASCII)
    for shape in (
        r"[2-6]\d{12,18}",
        r"[2-6]\d{3}(?:[ -]\d{4}){3}",
        r"[2-6]\d{3}(?:[ -]\d{4}){3}[ -]\d{3}",
        r"3\d{3}[ -]\d{6}[ -]\d{4,5}",
        r"(?<![0-9][ -])[2-6](?:[ -]?\d){12,18}(?![ -]?\d)",  # grouped in whatever way, where it stands alone
    )
)
_NO_DIGIT = re.compile(r"[^0-9]")
_DOUBLED = str.maketrans("0123456789", "0246813579")


def _cards(text: str, match: Any) -> Spans:
    """Digits of something else may stand before and after: all places of the run where a card may be are tried."""
    yield from sorted(
        found.span(1)
        for shape in _CARDS
        for found in shape.finditer(text, match.start(), match.end() + 1)
        if _is_card(found[1])
    )


def _is_card(text: str) -> bool:
    digits = _NO_DIGIT.sub("", text)
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


# --- phone ------------------------------------------------------------------------------------------------------------

_PHONE_BEGINS = (
    r"(?:(\+)\d|(?:^|[^0-9A-Za-z])(00)[1-9])(?:[ ().-]{0,3}\d){6}"
    r"|(\(\d{3}\) ?\d{3}[ .-]\d{4}\b)|(?:^|[^0-9A-Za-z])(\d{3}[.-]\d{3}[.-]\d{4})\b"
)
_PHONE_GROUP = re.compile(r"[ ().-]{0,3}([0-9]{1,15})(?![0-9A-Za-z])")
_PHONE_DIGITS = range(8, 16)
_UNGROUPED = 9
"""So many digits in one are a number written without groups: nothing more belongs to it."""
_DATE_OR_TIME = re.compile(
    r"[0-9]{1,2}:[0-9]{2}|[0-9]{4}([-./])[0-9]{1,2}\1[0-9]{1,2}(?![0-9])|[0-9]{1,2}([-./])[0-9]{1,2}\2[0-9]{4}(?![0-9])"
)


def _phone(text: str, match: Any) -> Spans:
    """A number within a country is one as it stands; of an international one, the groups up to a date or a time."""
    start, at = next(span for span in map(match.span, range(1, 5)) if span[0] >= 0)
    if match.start(1) < 0 and match.start(2) < 0:
        yield start, at
        return
    digits, end = len(text[start:at].lstrip("+")), 0
    while group := _PHONE_GROUP.match(text, at):
        if end and _DATE_OR_TIME.match(text, group.start(1)):
            break
        at = group.end()
        digits += len(group[1])
        if digits >= _PHONE_DIGITS.stop:
            break
        if digits in _PHONE_DIGITS:
            end = at
            if len(group[1]) >= _UNGROUPED:
                break
    if end:
        yield start, end


# --- ip ---------------------------------------------------------------------------------------------------------------

_IP_RUN = (
    r"[0-9A-Fa-f:.]*"
    r"(?:::[0-9A-Fa-f]|[0-9A-Fa-f]:[0-9A-Fa-f]{1,4}::|(?:[0-9A-Fa-f]{1,4}:){7}|\d(?:\.\d{1,3}){3})"
    r"[0-9A-Fa-f:.]*"
)
"""Not every time of day, nor `std::vector`: those are many."""
_IPV4 = re.compile(r"(?<![0-9])(?<![0-9]\.)[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z])(?!\.[0-9])")
_LONGEST_IP = 64
"""The longest address has 45 characters; a label and the end of a sentence may stand around it."""


def _ips(text: str, match: Any) -> Spans:
    """A label (`peer:`) may stand before it, a port or the end of a sentence after it."""
    start, end = match.span()
    span = _ipv6(text, start, end) if end - start <= _LONGEST_IP else None
    if span:
        yield span
        return
    for found in _IPV4.finditer(text, start, end + 1):
        if _is_ip(found[0]):
            yield found.span()


def _ipv6(text: str, start: int, end: int) -> tuple[int, int] | None:
    run = text[start:end]
    if "::" not in run and run.count(":") < 7:
        return None
    for begin in (end - len(run.lstrip(".")), text.index(":", start) + 1):
        for stop in (end, start + len(run.rstrip(".")), start + len(run.rstrip(":."))):
            # `Interface::Add` is none.
            is_apart = not (_is_in_word(text[begin - 1 : begin]) or _is_in_word(text[stop : stop + 1]))
            if is_apart and _is_ip(text[begin:stop]):
                return begin, stop
    return None


def _is_in_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_DIGITS = "1203456789"
_READY: Mapping[str, tuple[str, Callable[[str, Any], Spans], str]] = {
    "token": (_TOKEN, _group, ""),
    "email": (r"[\p{L}\p{N}._%+'-]+(?:@|%40)[\p{L}\p{N}](?:[\p{L}\p{N}-]*\.)+\p{L}{2,}", _whole, "@%"),
    "iban": (_IBAN_BEGINS, _iban, _DIGITS),
    "card": (_CARD_RUN, _cards, _DIGITS),
    "phone": (_PHONE_BEGINS, _phone, _DIGITS),
    "ip": (_IP_RUN, _ips, ":" + _DIGITS),
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
    pattern, spans, needs = _READY[name]
    return Rule(name, _compiled(pattern), f"[{name}]", spans, needs)


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
    return Rule(item["name"], pattern, item.get("replacement") or f"[{item['name']}]", _whole)


@functools.cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def replace_in(text: str, rule: Rule, written: Callable[[Rule, str], str]) -> tuple[str, int]:
    """The text with what the rule finds replaced by `written(rule, found)`, and how often."""
    spans = _found(text, rule) if _may_be_in(text, rule.needs) else []
    if not spans:
        return text, 0
    pieces: list[str] = []
    at = 0
    for start, end in spans:
        pieces += (text[at:start], written(rule, text[start:end]))
        at = end
    return "".join((*pieces, text[at:])), len(spans)


def _may_be_in(text: str, needs: str) -> bool:
    for char in needs:
        if char in text:
            return True
    return not needs


def _found(text: str, rule: Rule) -> list[tuple[int, int]]:
    """Those that overlap are one: which of them is the real one cannot be told."""
    found: list[tuple[int, int]] = []
    for match in rule.pattern.finditer(text):
        for start, end in rule.spans(text, match):
            if found and start < found[-1][1]:
                found[-1] = found[-1][0], max(end, found[-1][1])
            else:
                found.append((start, end))
    return found
