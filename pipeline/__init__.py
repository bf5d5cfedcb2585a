"""trace-import: recorded LLM and agent traces become sessions in Galtea.

Five nouns, each turned into the next by one folder; `run.py` is the page that joins them:

    files ─ readers/ → Record ─ mappers/<format> → Trace ─ mappers/session → SessionImport
          ─ uploader/ → Outcome ─ ledger → manifest, rejects, summary

source      an input file                        attempt   one try of one request
record      one unit in it, at a position        pause     the whole run waits
trace       one request to the AI system         outcome   the final fate of one session in one run
session     what Galtea stores                   ledger    the truth while running (SQLite)
turn        a question and its answer in one     span      a step inside a turn
target      base URL + version or product        manifest  the readable result of one run

Read run.py first, then models.py, then the folders in the order of the line above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Config as Config
    from pipeline.config import load_config as load_config
    from pipeline.dry_run import plan_import as plan_import
    from pipeline.results import RunResult as RunResult
    from pipeline.run import run_import as run_import

__version__ = "0.1.0"
__all__ = ["Config", "RunResult", "__version__", "load_config", "plan_import", "run_import"]

_HOMES = {
    "Config": "pipeline.config",
    "load_config": "pipeline.config",
    "RunResult": "pipeline.results",
    "run_import": "pipeline.run",
    "plan_import": "pipeline.dry_run",
}


def __getattr__(name: str) -> Any:
    """Load the public names when they are used, so that `import pipeline` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  (deferred on purpose, see above)

    return getattr(importlib.import_module(_HOMES[name]), name)
