"""What can go wrong, sorted by what the run does next.

TraceImportError
├── UsageError          the command or its configuration is wrong: nothing was started (exit 2)
├── FatalError          the target refuses, nothing further can succeed: the run stops (exit 5)
├── StoppedError        not now, but later: the run stops and the next one goes on (exit 75)
├── TransientError      the same request may succeed later
│   ├── NotSentError    no byte left this machine: send again freely
│   ├── RefusedError    the API said "later": one pause for the whole run
│   └── AmbiguousError  it may have been stored: send again under the same custom id
├── ExistsError         the API has a session under this custom id already
└── RejectedError       this record cannot be imported; the run goes on
"""

from __future__ import annotations


class TraceImportError(Exception):
    """Anything that this package raises on purpose."""


class UsageError(TraceImportError):
    """The command line, the configuration or a source named in it is wrong."""


class FatalError(TraceImportError):
    """Nothing further can succeed; `kind` is a stable name, `status` the HTTP status where there is one."""

    def __init__(self, message: str, *, kind: str = "fatal", status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


class StoppedError(TraceImportError):
    """The run cannot go on now; run it again to go on."""


class TransientError(TraceImportError):
    """The same request may succeed later."""

    def __init__(self, message: str, *, kind: str = "transient", status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


class NotSentError(TransientError):
    """No byte of the request reached the server (connect, DNS, TLS handshake, no free connection)."""


class RefusedError(TransientError):
    """The API took the request and said "later"; `retry_after` is what its headers say of the wait, unparsed."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "throttled",
        status: int | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, status=status)
        self.retry_after = retry_after


class AmbiguousError(TransientError):
    """The request left, and no usable answer came back: it may have been stored."""


class ExistsError(TraceImportError):
    """The API holds a session under this custom id on this version already."""


class RejectedError(TraceImportError):
    """This record cannot be imported; `kind` is a stable name that programs may rely on."""

    def __init__(self, message: str, *, kind: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
