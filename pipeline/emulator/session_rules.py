"""What the bodies of the session routes may say; null is the same as left out, except in an update."""

from __future__ import annotations

from typing import Any

from pipeline.emulator.options import Options
from pipeline.emulator.wire import RefusalError

STATUSES = ("PENDING", "COMPLETED", "FAILED")
STRINGS = ("versionId", "productId", "customId", "testCaseId", "runId", "stoppingReason", "error")
CREATE_FIELDS = frozenset(
    (
        "versionId",
        "productId",
        "customId",
        "testCaseId",
        "isProduction",
        "context",
        "metadata",
        "status",
        "runId",
    )
)
UPDATE_FIELDS = frozenset(("customId", "status", "context", "stoppingReason", "metadata", "error"))
FINISH_FIELDS = frozenset(("stoppingReason", "error"))


def check_create(body: dict[str, Any], options: Options) -> None:
    """Settles `isProduction`, after the one forbidden combination of the reference page."""
    _check_fields(body, CREATE_FIELDS, options)
    is_test_driven = bool(body.get("testCaseId"))
    is_production = body.get("isProduction")
    if is_test_driven and is_production:
        raise RefusalError(400, "testCaseId cannot be set when isProduction is true.")
    if is_test_driven and body.get("context") is not None:
        raise RefusalError(400, "context cannot be set when testCaseId is set: it is derived from the test case.")
    body["isProduction"] = not is_test_driven if is_production is None else is_production
    if body.get("runId") is not None:
        if body["isProduction"]:
            raise RefusalError(400, "runId cannot be set on a production session.")
        raise RefusalError(options.unknown_run_status, f"Run {body['runId']} not found")


def check_update(body: dict[str, Any], options: Options) -> None:
    if "status" in body and body["status"] is None:
        raise RefusalError(400, f"status must be one of {', '.join(STATUSES)}.")
    _check_fields(body, UPDATE_FIELDS, options)


def outcome_of_finish(body: dict[str, Any], options: Options) -> tuple[str, str | None, str | None]:
    """Status, stopping reason and error that a finish leads to."""
    _check_fields(body, FINISH_FIELDS, options)
    reason, error = (body.get("stoppingReason") or "").strip(), (body.get("error") or "").strip()
    if not reason and not error:
        raise RefusalError(400, "Either stoppingReason or error must be provided.")
    if reason and error and options.finish_with_both == "refuse":
        raise RefusalError(400, "Only one of stoppingReason and error may be provided.")
    has_failed = bool(error) and not (reason and options.finish_with_both == "completed")
    return "FAILED" if has_failed else "COMPLETED", reason or None, error or None


def _check_fields(body: dict[str, Any], known: frozenset[str], options: Options) -> None:
    if options.unknown_fields == "refuse" and not known.issuperset(body):
        raise RefusalError(400, f"Unknown field: {sorted(set(body) - known)[0]}")
    for name in STRINGS:
        if name in known and not isinstance(body.get(name), str | None):
            raise RefusalError(400, f"{name} must be a string.")
    if "isProduction" in known and not isinstance(body.get("isProduction"), bool | None):
        raise RefusalError(400, "isProduction must be a boolean.")
    if not isinstance(body.get("context"), str | dict | None):
        raise RefusalError(400, "context must be a string or an object.")
    if not isinstance(body.get("metadata"), dict | None):
        raise RefusalError(400, "metadata must be an object.")
    if body.get("status") is not None and body["status"] not in STATUSES:
        raise RefusalError(400, f"status must be one of {', '.join(STATUSES)}.")
    _check_custom_id(body, options)


def _check_custom_id(body: dict[str, Any], options: Options) -> None:
    custom_id = body.get("customId")
    if custom_id is None:
        return
    if custom_id == "":
        if options.empty_custom_id == "refuse":
            raise RefusalError(400, "customId must not be empty.")
        if options.empty_custom_id == "omit":
            body["customId"] = None
    if options.max_custom_id_length and len(custom_id) > options.max_custom_id_length:
        raise RefusalError(400, f"customId must not be longer than {options.max_custom_id_length} characters.")
