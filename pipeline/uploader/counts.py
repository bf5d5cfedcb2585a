"""What the uploader has done so far, for the ledger and for whoever watches."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.ledger.settling import Traffic
from pipeline.models import Outcome


@dataclass(slots=True)
class Counts:
    """What has been done so far, for whoever watches."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_sent: int = 0
    in_doubt: int = 0
    """Sessions that wait at present for what may have been sent to come to light."""
    looked_for: int = 0
    """Sessions that are asked for at present by their custom ids, again and again, and are not shown."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)

    def traffic(self) -> Traffic:
        """The part that the ledger keeps."""
        return Traffic(self.requests, self.retries, self.throttled, self.bytes_sent)
