from __future__ import annotations

import time

import pytest

from pipeline.config import READY_MADE_RULES
from pipeline.errors import UsageError
from pipeline.redaction.patterns import replace_in, rules_of

FOUND = {
    "email": ["ann.b+x@mail.example.com", "jürgen@exämple.de", "o'neil@a-b.co", "ann.b%40example.com"],
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
    "email": ["@handle", "a@b", "user at example.com", "at 100%40.5"],
    "phone": ["12345", "2026-08-22", "1.234.567,89", "call 4711"],
    "card": ["4111 1111 1111 1112", "1755849600000000", "123456789012"],
    "iban": ["ES91 2100 0418 4502 0005 1333", "AB12 words that follow each other", "XX68539007547034"],
    "token": [
        "a bearer of news",
        "sketch-book",
        "token count: 12",
        "the secret is out",
        "total_tokens: 1234567",
        "a task_force-of-sixteen-letters",
        "Authorization: required",
        "a basic understanding",
        "https://example.com:8080/people/@ann",
        "mailto:ann@example.com",
    ],
    "ip": [
        "999.1.1.1",
        "12:30",
        "1.2.3",
        "a::b::c",
        "std::vector",
        "12:30:45.123",
        "Interface::Add",
        "a::",
        "::",
        "1.2.3.4.5",
    ],
}
IBAN, OTHER_IBAN, CARD, PHONE = "BE68539007547034", "BE71096123456769", "4111 1111 1111 1111", "+34600123456"
BESIDE = [
    ("card", f"{CARD} 12/27", "[card] 12/27"),
    ("card", f"{CARD} 123", "[card] 123"),
    ("card", f"order 12 {CARD}", "order 12 [card]"),
    ("card", f"2024-05-01 {CARD} 2024-05-02", "2024-05-01 [card] 2024-05-02"),
    ("card", f"{CARD} 5500-0000-0000-0004", "[card] [card]"),
    ("card", "card_4111111111111111_x", "card_[card]_x"),
    ("card", "12 3782 822463 10005 1", "12 [card] 1"),
    ("iban", f"{IBAN} {OTHER_IBAN}", "[iban] [iban]"),
    ("iban", f"AB12 {IBAN} and {OTHER_IBAN} and more", "AB12 [iban] and [iban] and more"),
    ("iban", f"iban_{IBAN}", "iban_[iban]"),
    ("phone", f"{PHONE} 2024-05-01", "[phone] 2024-05-01"),
    ("phone", f"tel {PHONE} 12:30", "tel [phone] 12:30"),
    ("phone", "+33 6 12 34 56 78 12:30", "[phone] 12:30"),
    ("phone", "+34 612 345 678 01/05/2024", "[phone] 01/05/2024"),
    ("phone", "0034 612 345 678 0034 612 345 679", "[phone] [phone]"),
    ("phone", f"tel_{PHONE},0034612345678", "tel_[phone],[phone]"),
    ("ip", "ip:10.0.0.1", "ip:[ip]"),
    ("ip", "client_ip:203.0.113.7", "client_ip:[ip]"),
    ("ip", "peer:2001:db8::1", "peer:[ip]"),
    ("ip", "decade:2001:db8::1.", "decade:[ip]."),
    ("ip", "at 12:30:10.0.0.1", "at 12:30:[ip]"),
    ("ip", "[2001:db8::1]:443, ::ffff:10.0.0.7", "[[ip]]:443, [ip]"),
    ("ip", "10.0.0.1:10.0.0.2-10.0.0.3" + ":10.0.0.4" * 9, "[ip]:[ip]-[ip]" + ":[ip]" * 9),
    ("token", "OPENAI_API_KEY=abcdef123456", "OPENAI_[token]"),
    ("token", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_[token]"),
    ("token", "my_password: hunter22", "my_[token]"),
    ("token", '{"accessToken": "abcdef123456", "n": 1}', '{"access[token], "n": 1}'),
    ("token", r"{\"api_key\": \"abcdef123456\"}", r"{\"[token]}"),
    ("token", r"{\\\"api_key\\\": \\\"abcdef123456\\\"}", r"{\\\"[token]}"),
    ("token", "Authorization: Basic dXNlcjpwYXNz", "[token]"),
    ("token", '{"authorization": "basic dXNlcjpwYXNz"}', '{"[token]}'),
    ("token", "token: Bearer abcdef.123456", "[token]"),
    ("token", "https://user:pw@host/a", "https://[token]@host/a"),
    ("token", "redis://:p@ss@host:1 and a@b", "redis://[token]@host:1 and a@b"),
    ("token", "KEY_sk-abcdefghijklmnopqrst", "KEY_[token]"),
    ("token", "secret: -----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY----- end", "[token] end"),
    (
        "token",
        "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,1F\n\nMIIB\n-----END RSA PRIVATE KEY----- end",
        "[token] end",
    ),
]
"""What a rule finds among other things, and what of them it leaves."""


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


@pytest.mark.parametrize(("name", "text", "left"), BESIDE)
def test_what_stands_beside_it_neither_hides_it_nor_goes_with_it(name: str, text: str, left: str) -> None:
    assert cleaned(text, name) == (left, left.count(f"[{name}]"))


def test_a_number_behind_a_decimal_point_is_no_card() -> None:
    assert cleaned("score 0.4111111111111111", "card") == ("score 0.4111111111111111", 0)


@pytest.mark.parametrize(
    "part",
    ["4", "4 ", "4444 ", ":", ".", "1.", "1:", "::1:", "AB12 ", "A", "+1 ", "00", "0012345678 ", "a@", "token=", "://a:",
     "-----BEGIN PRIVATE KEY-----a:", "-----BEGIN ", "bearer ", "\\"],
)  # fmt: skip
def test_eight_times_the_text_takes_about_eight_times_as_long(part: str) -> None:
    rules = rules_of(READY_MADE_RULES)

    def seconds(length: int) -> float:
        text = (part * length)[:length]
        times = []
        for _ in range(3):
            began = time.process_time()
            for rule in rules:
                replace_in(text, rule, lambda rule, _: rule.replacement)
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(160_000) < 30 * seconds(20_000)  # it would be 64 times, were it quadratic


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
