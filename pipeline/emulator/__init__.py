"""Galtea's API on loopback: a strict second implementation, with faults on demand and a ground-truth log.

It imports nothing else of ours, so that it can disagree with us. In the order of a request:

    running.py         starts it as a process of its own, and talks to it (for tests and `run --emulator`)
    __main__.py        the command line
    server.py          the HTTP server, and how a route reaches its socket
    app.py             THE STORY: limits → faults → key → route → commit → log → answer
    routes.py          which function answers what
    rate_limit.py      429s
    faults.py          the fault script; what goes wrong, and when
    broken_answers.py  how it goes wrong on the socket
    auth.py            keys; who one is
    wire.py            what a route gets and gives
    query.py           query strings: filters, sort, paging
    json_body.py       bodies, read as strictly as Express and Postgres would
    sessions.py        the routes of sessions; session_rules.py: their bodies; session_list.py: their filters
    session_life.py    idle sessions close; what a turn does to a closed one
    turns.py           the routes of turns (`/inferenceResults`); turn_rules.py: their bodies; turn_batch.py: messages
    spans.py           the routes of spans (`/traces`); span_rules.py: their bodies; span_batch.py: partial success
    versions.py        the routes of versions; products.py those of products
    store.py           the state: one SQLite file or memory, committed before it is answered; schema.py: its tables
    control.py         `/__emulator__`: log, sessions, reset, faults, settings, products, clock
    whole_sessions.py  all turns and spans of sessions, for it
    options.py         every behaviour that the contract leaves unknown, each with a default
"""

from __future__ import annotations

from pipeline.emulator.app import Emulator, create_app
from pipeline.emulator.options import Options
from pipeline.emulator.running import RunningEmulator, running_emulator

__all__ = ["Emulator", "Options", "RunningEmulator", "create_app", "running_emulator"]
