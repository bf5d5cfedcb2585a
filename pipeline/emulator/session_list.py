"""The filters of `GET /sessions`."""

from __future__ import annotations

from pipeline.emulator.options import Options
from pipeline.emulator.query import Query, Selection, require_all, selection
from pipeline.emulator.session_rules import STATUSES
from pipeline.emulator.store import Store
from pipeline.emulator.wire import RefusalError, Request

FILTERS = (
    "customIds",
    "productIds",
    "versionIds",
    "testCaseIds",
    "testIds",
    "excludeTestIds",
    "statuses",
    "userIds",
    "commentLabels",
)


def select_sessions(store: Store, options: Options, request: Request) -> Selection:
    """Filters combine with AND; only `ids` answers 404 for what is not there."""
    query = Query(request.query, FILTERS, options)
    statuses = query.many("statuses")
    if statuses is not None and not set(statuses) <= set(STATUSES):
        raise RefusalError(400, f"statuses must be among {', '.join(STATUSES)}.")
    chosen = selection(query, options)
    chosen.where("visible_at <= ?", store.now_ms() / 1000)
    chosen.is_one_of("version_id", query.many("versionIds"))
    chosen.is_one_of("product_id", query.many("productIds"))
    chosen.is_one_of("test_case_id", query.many("testCaseIds"))
    chosen.is_one_of("user_id", query.many("userIds"))
    chosen.is_one_of("status", statuses)
    _by_custom_id(chosen, query, options)
    _by_what_is_not_emulated(chosen, query)
    ids = query.many("ids")
    if ids is not None:
        found = store.rows(f"SELECT id FROM session WHERE {chosen.filter}", chosen.values)
        require_all("Session", ids, [row[0] for row in found])
    return chosen


def _by_custom_id(chosen: Selection, query: Query, options: Options) -> None:
    custom_ids = query.many("customIds")
    if custom_ids is not None and not options.custom_ids_case_sensitive:
        custom_ids = [custom_id.lower() for custom_id in custom_ids]
    chosen.is_one_of("custom_key", custom_ids)


def _by_what_is_not_emulated(chosen: Selection, query: Query) -> None:
    """There are no tests and no comments here: a session has neither."""
    tests = query.many("testIds")
    if tests is not None:
        chosen.where("test_case_id IS NULL" if "" in tests else "0")
    labels = query.many("commentLabels")
    if labels is not None and "__none__" not in labels:
        chosen.where("0")
