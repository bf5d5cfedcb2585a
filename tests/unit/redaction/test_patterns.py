from __future__ import annotations

import pytest

from pipeline.config import READY_MADE_RULES
from pipeline.errors import UsageError
from pipeline.redaction.patterns import replace_in, rules_of

FOUND = {
    "email": ["ann.b+x@mail.example.com", "jürgen@exämple.de", "o'neil@a-b.co"],
    "phone": ["+34 612 345 678", "0034612345678", "(555) 123-4567", "555-123-4567", "+1 (555) 123-4567"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "iban": ["ES91 2100 0418 4502 0005 1332", "DE89370400440532013000", "gb29 nwbk 6016 1331 9268 19"],
    "token": [
        "Bearer abc.def-123456",
        "sk-proj-abcdefghijklmnopqrstu",
        "gsk_0123456789abcdefghij",
        "eyJhbGciOi.eyJzdWIiOiI.c2lnbmF0dXJl",
        "AKIAIOSFODNN7EXAMPLE",
        'api_key="s3cr3t-value"',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
    ],
    "ip": ["192.168.0.1", "2001:db8::8a2e:370:7334", "::1", "fe80::1", "10.0.0.7"],
}
NOT_FOUND = {
    "email": ["@handle", "a@b", "user at example.com"],
    "phone": ["12345", "2026-08-22", "1.234.567,89", "call 4711"],
    "card": ["4111 1111 1111 1112", "1755849600000000", "123456789012"],
    "iban": ["ES91 2100 0418 4502 0005 1333", "AB12 words that follow each other"],
    "token": ["a bearer of news", "sketch-book", "token count: 12", "the secret is out"],
    "ip": ["999.1.1.1", "12:30", "1.2.3", "a::b::c", "std::vector"],
}


def cleaned(text: str, *wanted: object) -> tuple[str, int]:
    total = 0
    for rule in rules_of(wanted):
        text, count = replace_in(text, rule, lambda rule, _: rule.replacement)
        total += count
    return text, total


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FOUND.items() for text in texts])
def test_a_ready_made_rule_finds_what_it_says(name: str, text: str) -> None:
    assert cleaned(f"before {text} after", name) == (f"before [{name}] after", 1)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in NOT_FOUND.items() for text in texts])
def test_and_leaves_what_only_looks_like_it(name: str, text: str) -> None:
    assert cleaned(text, name) == (text, 0)


def test_there_is_a_rule_for_every_name_and_all_work_together() -> None:
    texts = [texts[0] for texts in FOUND.values()]
    assert {rule.name for rule in rules_of(READY_MADE_RULES)} == set(FOUND) == set(READY_MADE_RULES)
    text, count = cleaned("; ".join(texts), *READY_MADE_RULES)
    assert text == "; ".join(f"[{name}]" for name in FOUND)
    assert count == len(texts)


def test_a_rule_of_the_users_own() -> None:
    assert cleaned("ORD-17 and ORD-18", {"name": "order", "pattern": "ORD-[0-9]+"}) == ("[order] and [order]", 2)
    assert cleaned("x ORD-17", {"name": "order", "pattern": "ORD-[0-9]+", "replacement": "#"}) == ("x #", 1)


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a*"])
def test_a_pattern_that_cannot_be_used_is_named(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"mapping\.redact: the pattern"):
        rules_of(({"name": "own", "pattern": pattern},))


def test_a_pattern_that_ruins_other_engines_ends_at_once() -> None:
    assert cleaned("a" * 50_000 + "!", {"name": "own", "pattern": "(a+)+b"})[1] == 0


def test_what_follows_an_address_stays() -> None:
    assert cleaned("at 10.0.0.7:8080, or 10.0.0.8.", "ip") == ("at [ip]:8080, or [ip].", 2)
