"""Galtea's API on loopback: a strict second implementation, with faults on demand and a ground-truth log.

It imports nothing else of ours, so that it can disagree with us. In the order of a request:

    running.py         starts it as a process of its own, and talks to it (for tests and `run --emulator`)
    __main__.py        the command line
    server.py          the HTTP server, and how a route reaches its socket
    app.py             THE STORY: limits → faults → key → route → commit → log → answer
    rate_limit.py      429s
    faults.py          the fault script; what goes wrong, and when
    broken_answers.py  how it goes wrong on the socket
    auth.py            keys; who one is
    wire.py            what a route gets and gives
    query.py           query strings: filters, sort, paging
    json_body.py       bodies, read as strictly as Express and Postgres would
    sessions.py        the routes of sessions; session_rules.py: their bodies; session_list.py: their filters
    versions.py        the routes of versions; products.py those of products
    store.py           the state: one SQLite file or memory, committed before it is answered
    control.py         `/__emulator__`: log, sessions, reset, faults, settings
    options.py         every behaviour that the contract leaves unknown, each with a default
"""

from __future__ import annotations

from pipeline.emulator.app import Emulator, create_app
from pipeline.emulator.options import Options
from pipeline.emulator.running import RunningEmulator, running_emulator

__all__ = ["Emulator", "Options", "RunningEmulator", "create_app", "running_emulator"]
