"""The command, ended by kill -9 at a named place: `killed_at.py EVENT FUNCTION NTH verb …`.

EVENT is `call` or `return`, FUNCTION the qualified name of a function of ours, NTH which of its calls (or returns).
The interpreter's own profile hook tells when the place is reached, so nothing under test is replaced or knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from pipeline.cli import main


def kill_at(event: str, function: str, nth: int) -> None:
    """End this process, as the kernel would, when `function` is called (or returns) for the nth time."""
    seen = 0

    def on_event(frame: FrameType, happened: str, argument: Any) -> None:
        nonlocal seen
        if happened == event and frame.f_code.co_qualname == function:
            seen += 1
            if seen == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(on_event)
    sys.setprofile(on_event)


if __name__ == "__main__":
    kill_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv[1:4] = []
    main()
