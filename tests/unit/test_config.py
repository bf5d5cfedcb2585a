"""Settings: what is wrong is said with file and key, and what is right means what the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, load_config, normalise_base_url, require_target
from pipeline.errors import UsageError

GOOD = """
source: {paths: [exports/*.jsonl]}
target: {version_id: ver_1}
"""


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "import.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def load(folder: Path, text: str | bytes, *, env: dict[str, str] | None = None, **overrides: Any) -> Config:
    return load_config(
        write(folder, text),
        overrides={key.replace("__", "."): value for key, value in overrides.items()},
        environ={"GALTEA_API_KEY": "gsk_key"} if env is None else env,
    )


def complaint(folder: Path, text: str | bytes, **overrides: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, text, **overrides)
    said = str(caught.value)
    assert str(folder / "import.yaml") in said
    return said.replace(str(folder / "import.yaml"), "FILE")


# --- what is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("sorce: {paths: [a]}", ["sorce: unknown key; did you mean source?"], id="a section"),
        pytest.param(GOOD + "upload: {max_per_secnd: 3}", ["upload.max_per_secnd", "max_per_second?"], id="a key"),
        pytest.param(GOOD + "upload: {wibble: 3}", ["upload.wibble: unknown key"], id="a key near none"),
        pytest.param(GOOD + "upload: {max_at_once: many}", ["upload.max_at_once", "integer"], id="a wrong type"),
        pytest.param(GOOD + "upload: {max_at_once: 0}", ["upload.max_at_once", "greater than"], id="too small"),
        pytest.param(GOOD + "upload: {max_per_second: -1}", ["upload.max_per_second"], id="negative"),
        pytest.param(GOOD + "upload: {max_per_second: .nan}", ["upload.max_per_second"], id="NaN"),
        pytest.param(GOOD + "upload: {timeout_seconds: .inf}", ["upload.timeout_seconds"], id="infinite"),
        pytest.param(GOOD + "upload: {on_change: maybe}", ["upload.on_change", "'auto'"], id="a wrong word"),
        pytest.param(GOOD + "upload: [1]", ["upload"], id="a list for a section"),
        pytest.param("source: {paths: [a]}\ntarget: 5", ["target must be a mapping"], id="a number for a section"),
        pytest.param("source: [a]", ["source must be a mapping"], id="a list for the source"),
        pytest.param("source: {paths: [1]}\ntarget: {version_id: v}", ["source.paths"], id="a path that is none"),
        pytest.param("source: {paths: []}", ["nothing to read", "--source"], id="no paths"),
        pytest.param("", ["nothing to read"], id="an empty file"),
        pytest.param("- a", ["must be a mapping"], id="a list"),
        pytest.param("just words", ["must be a mapping"], id="words"),
        pytest.param("a: [1", ["line", "not YAML"], id="not YAML"),
        pytest.param("a: \x00", ["not YAML"], id="a NUL"),
        pytest.param("source: {name: 2026-99-99}", ["not YAML"], id="a date that is none"),
        pytest.param(b"a: \xff", ["not UTF-8"], id="not UTF-8"),
        pytest.param(GOOD + "1: 2", ["1"], id="a key that is a number"),
        pytest.param(GOOD + "api_key: gsk_x", ["GALTEA_API_KEY"], id="the key at the top"),
        pytest.param("source: {paths: [a]}\ntarget: {api_key: gsk_x}", ["GALTEA_API_KEY"], id="the key in target"),
        pytest.param(GOOD + "target_name: mine", ["target_name", "unknown key"], id="a key of our own"),
        pytest.param(GOOD + "base_dir: /", ["base_dir", "unknown key"], id="another"),
        pytest.param("source: {paths: [a]}\ntarget: {version_id: v, product_id: p}", ["not both"], id="both anchors"),
        pytest.param("source: {paths: [a]}\ntarget: {version_id: ''}", ["target.version_id"], id="an empty version"),
        pytest.param(GOOD + 'mapping: {custom_id: "{source}:{ids}"}', ["mapping.custom_id", "{ids}"], id="a field"),
        pytest.param(GOOD + 'mapping: {custom_id: "{}"}', ["mapping.custom_id"], id="a field without name"),
        pytest.param(GOOD + 'mapping: {custom_id: "{id"}', ["mapping.custom_id"], id="an open brace"),
        pytest.param(GOOD + 'mapping: {custom_id: "{id:d}"}', ["mapping.custom_id"], id="a format"),
        pytest.param(GOOD + 'mapping: {custom_id: "{id!r}"}', ["mapping.custom_id"], id="a conversion"),
        pytest.param(GOOD + 'mapping: {custom_id: "{id.__class__}"}', ["mapping.custom_id"], id="an attribute"),
        pytest.param(GOOD + 'mapping: {custom_id: "all alike"}', ["mapping.custom_id", "{id}"], id="no id"),
        pytest.param(GOOD + "mapping: {redact: [mail]}", ["mapping.redact", "no ready-made rule"], id="redact"),
        pytest.param(
            GOOD + "mapping: {redact: [{name: a}]}", ["mapping.redact", "pattern"], id="a rule without pattern"
        ),
        pytest.param(GOOD + "mapping: {trace: {id: a}}", ["mapping.trace"], id="a mapping without custom"),
        pytest.param(
            "source: {paths: [a], format: custom}\ntarget: {version_id: v}", ["mapping.trace"], id="custom without"
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    complained = complaint(tmp_path, text)
    for words in said:
        assert words in complained


def test_no_value_is_repeated_in_a_complaint(tmp_path: Path) -> None:
    assert "gsk_secret" not in complaint(tmp_path, GOOD + "upload: {api_key: gsk_secret}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot read"):
        load_config(tmp_path / "nowhere.yaml", environ={})


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "upload: {wibble: 3, max_at_once: x}")
    assert len(said.splitlines()) == 2


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://api.example.com", "http://10.0.0.1:80", "http://127.0.0.1.evil.example"])
def test_plain_http_to_another_machine_is_refused(tmp_path: Path, url: str) -> None:
    assert "plain http" in complaint(tmp_path, GOOD.replace("ver_1", f"ver_1, base_url: '{url}'"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_plain_http_to_this_machine_is_fine(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, GOOD.replace("ver_1", f"ver_1, base_url: '{url}'")).target.base_url == url


def test_plain_http_is_possible_for_who_insists(tmp_path: Path) -> None:
    text = GOOD.replace("ver_1", "ver_1, base_url: 'http://api.example.com', allow_http: true")
    assert load(tmp_path, text).target.base_url == "http://api.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "api.galtea.ai",
        "https://",
        "https://user:pass@a",
        "https://a?x=1",
        "https://a#x",
        "https://a:99999",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    assert "target.base_url" in complaint(tmp_path, GOOD.replace("ver_1", f"ver_1, base_url: '{url}'"))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://API.Galtea.AI/", "https://api.galtea.ai"),
        ("https://api.galtea.ai:443", "https://api.galtea.ai"),
        ("http://localhost:80/x//", "http://localhost/x"),
        (" https://a:8443/Path/ ", "https://a:8443/Path"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_one_target_is_written_one_way(url: str, normal: str) -> None:
    assert normalise_base_url(url) == normal
    assert normalise_base_url(normal) == normal


# --- what it means ----------------------------------------------------------------------------------------


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "state_dir: state\noutput_dir: ../out\n")
    assert config.source.paths == (f"{tmp_path}/exports/*.jsonl",)
    assert config.state_dir == tmp_path / "state"
    assert config.output_dir == tmp_path.parent / "out"


def test_absolute_paths_and_addresses_stay(tmp_path: Path) -> None:
    config = load(tmp_path, "source: {paths: [/data/a.jsonl, 's3://b/c']}\ntarget: {version_id: v}")
    assert config.source.paths == ("/data/a.jsonl", "s3://b/c")


def test_one_path_is_a_list_of_one(tmp_path: Path) -> None:
    assert load(tmp_path, "source: {paths: a.jsonl}").source.paths == (f"{tmp_path}/a.jsonl",)


def test_options_win_over_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "upload: {max_at_once: 3}", upload__max_at_once=5, source__format=None)
    assert (config.upload.max_at_once, config.source.format) == (5, "auto")


def test_an_anchor_among_the_options_replaces_the_one_in_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD, target__product_id="prod_1")
    assert (config.target.version_id, config.target.product_id) == (None, "prod_1")


def test_the_environment_gives_key_and_address(tmp_path: Path) -> None:
    env = {"GALTEA_API_KEY": " gsk_key\n", "GALTEA_API_URL": "https://dev.api.galtea.ai/"}
    config = load(tmp_path, GOOD, env=env)
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "gsk_key"
    assert config.target.base_url == "https://dev.api.galtea.ai"


def test_the_address_in_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    text = GOOD.replace("ver_1", "ver_1, base_url: 'https://a.example'")
    assert load(tmp_path, text, env={"GALTEA_API_URL": "https://b.example"}).target.base_url == "https://a.example"


def test_without_a_key_nothing_can_be_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GALTEA_API_KEY"):
        require_target(load(tmp_path, GOOD, env={"GALTEA_API_KEY": "  "}))


def test_without_a_version_nothing_can_be_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--version-id or --product-id"):
        require_target(load(tmp_path, "source: {paths: [a]}"))


def test_the_key_is_in_no_text_and_no_hash(tmp_path: Path) -> None:
    one = load(tmp_path, GOOD, env={"GALTEA_API_KEY": "gsk_one"})
    two = load(tmp_path, GOOD, env={"GALTEA_API_KEY": "gsk_two"})
    assert "gsk_one" not in repr(one) + str(one.model_dump()) + one.model_dump_json()
    assert one.sha256() == two.sha256()


def test_only_what_decides_the_sessions_makes_another_mapping(tmp_path: Path) -> None:
    plain = load(tmp_path, GOOD).mapping_sha256()
    assert load(tmp_path, GOOD + "upload: {max_at_once: 3}").mapping_sha256() == plain
    assert load(tmp_path, GOOD + "mapping: {context: 'name'}").mapping_sha256() != plain
    assert load(tmp_path, GOOD, source__session_per="conversation").mapping_sha256() != plain


def test_a_section_that_is_empty_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD + "upload:\nmapping:\n").upload.max_at_once == 64
