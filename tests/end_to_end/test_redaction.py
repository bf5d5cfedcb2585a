"""What is to be kept back never leaves, and is written nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import check_invariants, read_manifest, read_rejects

MAIL, CARD = "ann@example.com", "4111 1111 1111 1111"


def _config(importer: Importer, source: Path, mapping: str) -> Path:
    path = importer.home / "import.yaml"
    path.write_text(
        f"source: {{paths: [{json.dumps(str(source))}]}}\ntarget: {{version_id: ver_123}}\n"
        f"state_dir: {json.dumps(str(importer.state))}\nmapping: {mapping}\n"
    )
    return path


def _everything_written(importer: Importer) -> bytes:
    files = [path for path in importer.state.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def test_what_the_patterns_find_is_nowhere_outside_the_export(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [
        make_trace(1, id=f"chat of {MAIL}", session_id=MAIL, input=f"I am {MAIL}, my card is {CARD}"),
        make_trace(2, timestamp=f"at {MAIL}"),
        make_trace(3, user_id=MAIL, metadata={MAIL: {"card": CARD}}, tags=[MAIL]),
        f"not JSON {MAIL}",
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    config = _config(importer, source, "{redact: [email, card]}")
    done = importer.execute([*importer.command("run")[:3], "run", "--import", "session", str(config)])
    assert done.code == 3, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 2}
    assert summary["redacted"]["email"] > 5
    assert summary["redacted"]["card"] == 2
    seen = json.dumps(emulator.sessions()) + json.dumps(emulator.log()) + done.out + done.err
    assert MAIL not in seen
    assert CARD not in seen
    written = _everything_written(importer)
    assert MAIL.encode() not in written
    assert CARD.encode() not in written
    assert all(reject["record"] is None for reject in read_rejects(importer.last))
    assert "[email~" in read_manifest(importer.last)[0]["custom_id"]


def test_dropped_paths_do_not_leave(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1, metadata={"password": "pw-1", "plan": "free"})])
    config = _config(importer, source, '{drop: ["**.password", "turns[*].output"]}')
    done = importer.execute([*importer.command("run")[:3], "run", "--import", "session", str(config)])
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["redacted"] == {"**.password": 1, "turns[*].output": 1}
    [session] = emulator.sessions()
    assert session["metadata"]["plan"] == "free"
    assert "password" not in session["metadata"]
    assert session["context"]["turns"][0]["output"] is None


def test_with_conversations_every_trace_is_cleaned_before_they_are_joined(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [
        make_trace(n, session_id="c-1", user_id=MAIL, metadata={"customer": "SECRET", "plan": "free"}, tags=[MAIL])
        for n in range(3)
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    config = _config(importer, source, '{drop: ["metadata.customer", "tags"], redact: [email]}')
    command = [*importer.command("run")[:3], "run", "--import", "session", str(config), "--session-per", "conversation"]
    done = importer.execute(command)
    assert done.code == 0, done.err
    [session] = emulator.sessions()
    assert len(session["context"]["turns"]) == 3
    assert "SECRET" not in json.dumps(session)
    assert MAIL not in json.dumps(session)
    assert session["metadata"]["traces"][0]["metadata"]["plan"] == "free"
    write_jsonl(importer.home / "b.jsonl", [make_trace(7, session_id="c-1", user_id=MAIL)])
    config.write_text(config.read_text().replace("a.jsonl", "*.jsonl"))
    assert importer.execute(command).code == 0
    [session] = emulator.sessions()
    assert (len(session["context"]["turns"]), "SECRET" in json.dumps(session)) == (4, False)


def test_a_content_free_import_sends_sizes_and_times(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    done = importer.execute(
        [*importer.command("run")[:3], "run", "--import", "session", str(_config(importer, source, "{content: none}"))]
    )
    assert done.code == 0, done.err
    [session] = emulator.sessions()
    assert session["context"]["turns"][0]["input"].keys() == {"characters"}
    assert session["metadata"]["started_at"] == "2026-08-22T08:00:00.000000Z"
    assert b"Where is parcel" not in _everything_written(importer)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [("{drop: [id]}", "mapping.drop"), ('{redact: [{name: a, pattern: "("}]}', "mapping.redact")],
)
def test_a_rule_that_cannot_work_is_an_error_before_anything_is_sent(
    importer: Importer, emulator: RunningEmulator, mapping: str, said: str
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    done = importer.execute(
        [*importer.command("run")[:3], "run", "--import", "session", str(_config(importer, source, mapping))]
    )
    assert done.code == 2
    assert said in done.err
    assert "import.yaml" in done.err
    assert not emulator.sessions()
