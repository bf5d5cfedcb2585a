"""How sessions come into the ledger: each is admitted with a decision, and every record charged to one row."""

from __future__ import annotations

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline.facts import contains
from pipeline.ledger.admission import (
    CREATE,
    IN_DOUBT_STATES,
    PARTS_MISSING,
    SETTLED_STATES,
    UPDATE_REJECTED,
    Decision,
    Known,
    Policy,
    decide,
)
from pipeline.ledger.database import Database
from pipeline.ledger.parts import Places, note_part_file, note_parts
from pipeline.ledger.rejects import Rejects
from pipeline.ledger.sending import Sending
from pipeline.ledger.settling import (
    Before,
    Send,
    told,
)
from pipeline.models import Outcome, Part, Reject, SessionImport

ALSO_ALONE_KEPT = 20
_NUMBER_HINTS = 50_000
_KNOWN = ", ".join(Known._fields)
_COLUMNS = ", ".join(["target", "custom_id", *Known._fields[1:]])
"""All of the session table but the row's number, which is another one in a shadow."""
_OLD_COLUMNS = _COLUMNS.removesuffix(
    ", extent, turn_prints, content_sha256, spans_sha256, finish, is_changing, sent_by"
)
"""Of a ledger before schema 4."""
_FINAL = frozenset(
    [Outcome.CREATED, Outcome.EXISTING, Outcome.SKIPPED, Outcome.CHANGED, Outcome.DUPLICATE, Outcome.CONFLICT]
)
_CHARGED = ""


class Progress(NamedTuple):
    """How far one source has been read: records so far, and how many of them were repaired."""

    records_read: int
    records_repaired: int


class Batch(NamedTuple):
    """What reading and mapping hand over in one go."""

    sessions: Sequence[SessionImport]
    rejects: Sequence[Reject]
    ignored: Sequence[tuple[Part, str]]
    """Records that count for nothing, and why: superseded, …"""
    progress: Mapping[str, Progress]
    finished: Mapping[str, str]
    """Sources that were read to their end, with the fingerprint that they had then."""
    parts: Sequence[tuple[bytes, Mapping[str, Places]]] = ()
    """Where pieces of scattered traces lie: key of the trace, places by source."""
    part_files: Sequence[tuple[str, str, str, bool]] = ()
    """Sources that hold pieces, or traces of conversations: with fingerprint, format, and whether they are pieces."""
    read: Mapping[str, int] = {}
    """By source, records read so far, also those that wait for the rest of their trace."""
    left_out: Sequence[Sequence[Part]] = ()
    """The records of each session that `--limit` leaves to another run."""
    is_limited: bool = False
    """The last one of a run with `--limit`: what is not read is for another run."""


_INSERT_SESSION = (
    "INSERT INTO main.session (id, target, custom_id, state, trace_sha256, payload_sha256, facts, revision, "
    "seen_run, seen_path, seen_ordinal, seen_revision, seen_sha256) "
    "VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_ENTRY = (
    "INSERT OR REPLACE INTO entry (run, path, ordinal, custom_id, outcome, session_id, trace_id, "
    "conversation_id, format, position, records, traces, turns, spans, error_kind, error, payload_sha256) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _take(custom_ids: set[str], session: SessionImport) -> bool:
    """Is it one of these? Then the next one with this id is not."""
    if session.is_numbered or session.custom_id not in custom_ids:
        return False
    custom_ids.remove(session.custom_id)
    return True


class SessionLedger:
    """The sessions of one run on one target."""

    def __init__(
        self,
        database: Database,
        *,
        run: int,
        target: int,
        paths: Mapping[str, int],
        unchanged_paths: Iterable[int],
        policy: Policy,
        keep_records: bool,
        is_new: bool = False,
        scope: int = 0,
    ) -> None:
        self._database = database
        self._run = run
        self._is_new = is_new
        self._scope = scope
        self._target = target
        self._paths = paths
        self._unchanged_paths = frozenset(unchanged_paths)
        self._policy = policy
        self._rejects = Rejects(
            database,
            run=run,
            target=target,
            paths=paths,
            retry_rejected=policy.retry_rejected,
            keep_records=keep_records,
            is_new=is_new,
        )
        self._next_number: OrderedDict[str, int] = OrderedDict()
        self.open_records: Counter[int] = Counter()
        """By path: records whose sessions are on their way, or lack parts."""
        self.sending = Sending(
            database, self._rejects, run=run, target=target, paths=paths, open_records=self.open_records
        )
        self._alive_at: dict[int, str] = dict(
            database.connection.execute("SELECT number, alive_at FROM main.process").fetchall()
        )
        """By process, when an earlier one was last known to send."""
        self.also_alone = 0
        """Sessions whose trace now stands in a conversation's session, too."""
        self.first_also_alone: list[str] = []
        """The custom ids of the first ones."""

    # --- admission ----------------------------------------------------------------------------------------

    def admit(self, batch: Batch) -> list[Send]:
        """Charge every record of the batch to one row, in one transaction; returns what is to be sent."""
        sends = []
        with self._database.transaction() as connection:
            for reject in batch.rejects:
                self._rejects.write(connection, reject, repeated=self._rejects.was_written_before(connection, reject))
            admitted = self._with_known_alone(connection, batch.sessions)
            unknown = self._unknown(connection, admitted)
            for is_unknown, sessions in groupby(admitted, lambda session: _take(unknown, session)):
                if is_unknown:
                    sends += self._admit_unknown(connection, list(sessions))
                else:
                    sends += [send for send in (self._admit_session(connection, one) for one in sessions) if send]
            for part, reason in batch.ignored:
                self._ignore(connection, (self._paths[part.source], part.ordinal), reason, 1)
            for parts in batch.left_out:
                key = (self._paths[parts[0].source], parts[0].ordinal)
                # An earlier process of this run, with another limit, may have come to it.
                if self._is_new or self._earlier(connection, key, len(parts)) is None:
                    self._ignore(connection, key, "limit", len(parts))
            for source, fingerprint, format, is_scattered in batch.part_files:
                note_part_file(connection, self._scope, self._paths[source], fingerprint, format, is_scattered)
            note_parts(connection, self._scope, self._paths, batch.parts)
            connection.executemany(
                "UPDATE source SET records_read = max(records_read, ?), records_repaired = max(records_repaired, ?) "
                "WHERE run = ? AND path = ?",
                [
                    (progress.records_read, progress.records_repaired, self._run, self._paths[source])
                    for source, progress in batch.progress.items()
                ],
            )
            connection.executemany(
                "UPDATE source SET state = 'read' WHERE run = ? AND path = ? AND state = 'reading'",
                [(self._run, self._paths[source]) for source in batch.finished],
            )
            if batch.is_limited:
                connection.execute(
                    "UPDATE source SET state = 'limited' WHERE run = ? AND state = 'reading'", (self._run,)
                )
        self.open_records.update(self._paths[part.source] for send in sends for part in send.session.parts)
        return sends

    def _with_known_alone(
        self, connection: sqlite3.Connection, sessions: Sequence[SessionImport]
    ) -> Sequence[SessionImport]:
        """The same, and of `also_alone` only what is on the server."""
        if not any(session.also_alone for session in sessions):
            return sessions
        return [replace(one, also_alone=tuple(self._known_alone(connection, one))) for one in sessions]

    def _known_alone(self, connection: sqlite3.Connection, session: SessionImport) -> Iterator[str]:
        query = "SELECT 1 FROM {}.session WHERE custom_id = ? AND target = ? AND session_id IS NOT NULL"
        schemas = ("main", "past") if self._database.has_past else ("main",)
        for custom_id in session.also_alone:
            asked = (custom_id, self._target)
            if any(connection.execute(query.format(schema), asked).fetchone() for schema in schemas):
                self.also_alone += 1
                if self.also_alone <= ALSO_ALONE_KEPT:
                    self.first_also_alone.append(custom_id)
                yield custom_id

    def _unknown(self, connection: sqlite3.Connection, sessions: Sequence[SessionImport]) -> set[str]:
        """The custom ids among these that no row has, where such a session needs no other look-up."""
        if not self._is_new:
            return set()
        ids = {
            session.custom_id
            for session in sessions
            if not (session.is_numbered or session.is_young or session.missing is not None)
        }
        marks = ", ".join("?" * len(ids))
        for schema in ("main", "past") if self._database.has_past else ("main",):
            query = f"SELECT custom_id FROM {schema}.session WHERE custom_id IN ({marks}) AND target = ?"
            ids.difference_update([row[0] for row in connection.execute(query, (*ids, self._target)).fetchall()])
        return ids

    def _admit_unknown(self, connection: sqlite3.Connection, sessions: Sequence[SessionImport]) -> list[Send]:
        """The same as `_admit_session` for sessions that are new, each once: what most of a first import are."""
        first_row = (connection.execute("SELECT max(id) FROM main.session").fetchone()[0] or 0) + 1
        sends = [
            Send(
                row,
                (self._paths[session.parts[0].source], session.parts[0].ordinal),
                session.custom_id,
                session,
                "create",
                None,
                None,
                None,
            )
            for row, session in enumerate(sessions, first_row)
        ]
        connection.executemany(
            _INSERT_SESSION, [(send.row, *self._session_row(send.session, send.custom_id, send.key)) for send in sends]
        )
        connection.executemany(
            _INSERT_ENTRY, [self._entry_row(send.session, send.custom_id, send.key, CREATE, None) for send in sends]
        )
        return sends

    def _admit_session(self, connection: sqlite3.Connection, session: SessionImport) -> Send | None:
        first = session.parts[0]
        key = (self._paths[first.source], first.ordinal)
        earlier = None if self._is_new else self._earlier(connection, key, len(session.parts))
        if earlier is _CHARGED:
            return None
        if earlier is not None:
            custom_id = earlier
            known = self._known(connection, custom_id)
        else:
            custom_id, known = self._find(connection, session)
        decision = decide(
            session, known, key, self._run, self._policy, is_seen_one_sent=self._is_seen_one_sent(connection, known)
        )
        is_change = decision.action in ("update", "complete", "recreate")
        if is_change and known is not None and self._was_refused(connection, session, known):
            decision = Decision("none", Outcome.CHANGED, UPDATE_REJECTED, known.error, decision.displaces)
        if decision.error_kind == PARTS_MISSING:
            # The index does not learn where these lie: all of their files are read again until the others are back.
            self.open_records.update(self._paths[part.source] for part in session.parts)
        if decision.outcome is Outcome.DUPLICATE and session.has_earlier_parts:
            return None  # the run goes on: its entry, made when all of its files were read, counts these records, too
        if decision.displaces and known is not None:
            self._ignore_earlier(connection, known)
        if decision.action == "ignore":
            self._ignore(connection, key, decision.error_kind or "superseded", len(session.parts))
            return None
        row = self._write_session(connection, session, custom_id, known, key, decision)
        connection.execute(_INSERT_ENTRY, self._entry_row(session, custom_id, key, decision, known))
        if not self._is_new:  # an earlier process, with a limit, may have left it out
            connection.execute("DELETE FROM ignored WHERE run = ? AND path = ? AND ordinal = ?", (self._run, *key))
        if decision.action == "none":
            if decision.outcome is Outcome.REJECTED or decision.error_kind == UPDATE_REJECTED:
                self._rejects.write_parts(connection, session, decision.error_kind, decision.error, repeated=True)
            return None
        if known is None:
            return Send(row, key, custom_id, session, decision.action, None, None, None)
        is_in_doubt = known.state in IN_DOUBT_STATES
        # With turns and spans the same trace is sent otherwise than without, and is no other trace.
        is_same = session.content is not None and session.trace_sha256 == known.trace_sha256
        grows = is_same or (self._policy.on_change == "auto" and contains(session.facts, known.facts))
        return Send(
            row,
            key,
            custom_id,
            session,
            decision.action,
            known.version_id if is_in_doubt else None,
            known.session_id,
            known.state,
            is_older=known.state in SETTLED_STATES and known.settled_run != self._run,
            grows_from=known.payload_sha256 if is_in_doubt and grows else None,
            before=self._before(known),
        )

    def _before(self, known: Known) -> Before:
        prints = known.turn_prints or b""
        sent_at = self._alive_at.get(known.sent_by) if known.sent_by is not None else None
        return Before(
            known.payload_sha256,
            prints,
            known.spans_sha256,
            known.finish,
            bool(known.is_changing),
            known.sent_by,
            sent_at,
        )

    def _earlier(self, connection: sqlite3.Connection, key: tuple[int, int], records: int) -> str | None:
        """The custom id that an earlier process of this run gave the record; _CHARGED where it is through with it.

        Not so where it was made of fewer records: then it saw not all of the trace.
        """
        entry = connection.execute(
            "SELECT custom_id, outcome, records, error_kind FROM entry WHERE run = ? AND path = ? AND ordinal = ?",
            (self._run, *key),
        ).fetchone()
        if entry is not None:
            is_rejected = entry[1] == Outcome.REJECTED and not self._policy.retry_rejected
            is_final = (entry[1] in _FINAL or is_rejected) and entry[2] == records and entry[3] != PARTS_MISSING
            return _CHARGED if is_final else str(entry[0])
        # What a limit left out is for whoever goes on, with another limit or none.
        is_ignored = connection.execute(
            "SELECT 1 FROM ignored WHERE run = ? AND path = ? AND ordinal = ? AND reason != 'limit'", (self._run, *key)
        ).fetchone()
        return _CHARGED if is_ignored else None

    def _is_seen_one_sent(self, connection: sqlite3.Connection, known: Known | None) -> bool:
        """Has this run sent what it saw of this session last, or is it to be sent? Only sending settles an entry."""
        if known is None or known.seen_run != self._run or known.state not in SETTLED_STATES:
            return False
        row = connection.execute(
            "SELECT outcome = 'pending' OR settled_at IS NOT NULL FROM entry "
            "WHERE run = ? AND path = ? AND ordinal = ?",
            (self._run, known.seen_path, known.seen_ordinal),
        ).fetchone()
        return row is not None and bool(row[0])

    def _was_refused(self, connection: sqlite3.Connection, session: SessionImport, known: Known) -> bool:
        """Was this very update refused when the session was last seen? Forgotten with the rows of that run."""
        if known.error_kind != UPDATE_REJECTED or self._policy.retry_rejected:
            return False
        schema = "past" if self._database.has_past else "main"
        query = f"SELECT payload_sha256, error_kind FROM {schema}.entry WHERE run = ? AND path = ? AND ordinal = ?"
        row = connection.execute(query, (known.seen_run, known.seen_path, known.seen_ordinal)).fetchone()
        return row is not None and tuple(row) == (session.payload_sha256, UPDATE_REJECTED)

    def _find(self, connection: sqlite3.Connection, session: SessionImport) -> tuple[str, Known | None]:
        if not session.is_numbered:
            return session.custom_id, self._known(connection, session.custom_id)
        # Identical contents are interchangeable; a number is free unless a record of this input holds it:
        # one seen in this run already, or one in a file that is done and not read again.
        number = self._next_number.get(session.custom_id, 1)
        while True:
            custom_id = session.custom_id if number == 1 else f"{session.custom_id}#{number}"
            known = self._known(connection, custom_id)
            number += 1
            if known is None or not (known.seen_run == self._run or known.seen_path in self._unchanged_paths):
                break
        self._next_number[session.custom_id] = number
        self._next_number.move_to_end(session.custom_id)
        if len(self._next_number) > _NUMBER_HINTS:
            self._next_number.popitem(last=False)
        return custom_id, known

    def _known(self, connection: sqlite3.Connection, custom_id: str) -> Known | None:
        query = f"SELECT {_KNOWN} FROM main.session WHERE custom_id = ? AND target = ?"
        row = connection.execute(query, (custom_id, self._target)).fetchone()
        if row is None and self._database.has_past:  # its first time here: from now on it lives in the shadow
            columns = _COLUMNS if self._database.past_schema >= 4 else _OLD_COLUMNS
            brought_over = connection.execute(
                f"INSERT INTO main.session ({columns}) SELECT {columns} FROM past.session "
                "WHERE custom_id = ? AND target = ?",
                (custom_id, self._target),
            )
            if brought_over.rowcount:
                row = connection.execute(query, (custom_id, self._target)).fetchone()
        return Known(*row) if row is not None else None

    def _write_session(
        self,
        connection: sqlite3.Connection,
        session: SessionImport,
        custom_id: str,
        known: Known | None,
        key: tuple[int, int],
        decision: Decision,
    ) -> int:
        if known is None:
            cursor = connection.execute(_INSERT_SESSION, (None, *self._session_row(session, custom_id, key)))
            return int(cursor.lastrowid or 0)
        content = (session.trace_sha256, session.payload_sha256, session.facts, session.revision)
        seen = (self._run, *key, session.revision, session.trace_sha256)
        if decision.error_kind == PARTS_MISSING:
            # What is there is a fragment: it must not look as if the ledger had seen the trace.
            connection.execute(
                "UPDATE main.session SET seen_run = ?, seen_path = ?, seen_ordinal = ? WHERE id = ?",
                (self._run, *key, known.id),
            )
            return known.id
        if decision.action == "none" and decision.outcome in (Outcome.DUPLICATE, Outcome.CONFLICT):
            return known.id  # the first one holds the row
        # What may have been stored stays in the row until it is known: it tells whether that may be updated.
        keeps_content = known.state in SETTLED_STATES or known.state in IN_DOUBT_STATES
        if keeps_content or decision.action == "replace" or decision.outcome is Outcome.REJECTED:
            connection.execute(
                "UPDATE main.session SET seen_run = ?, seen_path = ?, seen_ordinal = ?, seen_revision = ?, "
                "seen_sha256 = ? WHERE id = ?",
                (*seen, known.id),
            )
        else:
            connection.execute(
                # What was rejected is not this payload: until it is sent, it must not look as if it were.
                "UPDATE main.session SET state = CASE state WHEN 'rejected' THEN 'pending' ELSE state END, "
                "trace_sha256 = ?, payload_sha256 = ?, facts = ?, revision = ?, seen_run = ?, "
                "seen_path = ?, seen_ordinal = ?, seen_revision = ?, seen_sha256 = ? WHERE id = ?",
                (*content, *seen, known.id),
            )
        return known.id

    def _session_row(self, session: SessionImport, custom_id: str, key: tuple[int, int]) -> tuple[Any, ...]:
        trace, revision = session.trace_sha256, session.revision
        content = (trace, session.payload_sha256, session.facts, revision)
        return (self._target, custom_id, *content, self._run, *key, revision, trace)

    def _entry_row(
        self,
        session: SessionImport,
        custom_id: str,
        key: tuple[int, int],
        decision: Decision,
        known: Known | None,
    ) -> tuple[Any, ...]:
        is_known_there = decision.outcome in (Outcome.SKIPPED, Outcome.CHANGED, Outcome.DUPLICATE)
        return (
            self._run,
            *key,
            custom_id,
            decision.outcome,
            known.session_id if known is not None and is_known_there else None,
            session.trace_id,
            session.conversation_id,
            session.format,
            session.parts[0].position,
            len(session.parts),
            session.traces,
            session.turns,
            session.spans,
            *told(session, decision.error_kind, decision.error),
            session.payload_sha256,
        )

    def _ignore_earlier(self, connection: sqlite3.Connection, known: Known) -> None:
        earlier = (known.seen_path, known.seen_ordinal)
        row = connection.execute(
            "SELECT records FROM entry WHERE run = ? AND path = ? AND ordinal = ?", (self._run, *earlier)
        ).fetchone()
        for table in ("entry", "reject"):
            connection.execute(f"DELETE FROM {table} WHERE run = ? AND path = ? AND ordinal = ?", (self._run, *earlier))
        self._ignore(connection, earlier, "superseded", row[0] if row is not None else 1)

    def _ignore(self, connection: sqlite3.Connection, key: tuple[int, int], reason: str, records: int) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO ignored (run, path, ordinal, reason, records) VALUES (?, ?, ?, ?, ?)",
            (self._run, *key, reason, records),
        )
