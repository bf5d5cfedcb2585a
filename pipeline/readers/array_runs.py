"""Runs of whole items inside a block of a JSON array, found three times faster than one item after the other."""

from __future__ import annotations

import msgspec

LONGEST_RUN_BYTES = 128 << 10
_ATTEMPTS = 4
_SEAM_BYTES = 64
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Runs:
    """Learns how the items of an array join, and guesses by that where a run of them ends.

    A guess may as well hit the inside of an item. But what the strict parser takes as an array, when brackets
    are put around it, is whole items: it cannot be a part of one.
    """

    def __init__(self) -> None:
        self._seam = b""
        self._hopeless_until = 0

    def learn(self, block: bytes, start: int, after_comma: int) -> None:
        """From an item and its comma: what stands around the comma, and how all items so far begin alike."""
        first = block[start : start + _SEAM_BYTES].lstrip()
        second = block[after_comma : after_comma + _SEAM_BYTES]
        space = second[: len(second) - len(second.lstrip())]
        join = block[after_comma - 2 : after_comma] + space
        seam = _alike(join + first, join + second[len(space) :])
        self._seam = _alike(self._seam, seam) if self._seam.startswith(join) else seam

    def new_block(self) -> None:
        """Offsets begin at 0 again."""
        self._hopeless_until = 0

    def find(self, block: bytes, at: int) -> tuple[list[msgspec.Raw], int]:
        """Whole items from here on, and where the next one begins; none where no guess was right."""
        if at < self._hopeless_until or not self._seam:
            return [], at
        end = min(at + LONGEST_RUN_BYTES, len(block))
        self._hopeless_until = end
        for _ in range(_ATTEMPTS):
            end = block.rfind(self._seam, at, end)
            if end < 0:
                break
            try:
                items = _decode_items(b"[%b]" % block[at : end + 1])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            self._hopeless_until = 0
            return items, end + 2
        return [], at


def _alike(one: bytes, other: bytes) -> bytes:
    """The beginning that both have."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))]
