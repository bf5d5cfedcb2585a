"""Texts that are longer than they may be are cut, and the cut is marked."""

from __future__ import annotations

from typing import Any

from pipeline.on_disk import OnDisk


def cut(value: Any, limit: int) -> tuple[Any, int]:
    """Texts longer than `limit` bytes are cut there, with a mark at the cut; returns how many were."""
    if isinstance(value, str):
        if len(value) * 4 <= limit:
            return value, 0
        encoded = value.encode("utf-8", "replace")
        if len(encoded) <= limit:
            return value, 0
        kept = encoded[:limit].decode("utf-8", "ignore")
        return f"{kept}… [cut: {limit} of {len(encoded)} bytes kept]", 1
    if isinstance(value, dict):
        pairs = {key: cut(inner, limit) for key, inner in value.items()}
        return {key: inner for key, (inner, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, OnDisk):
        return _cut_on_disk(value, limit)
    if isinstance(value, (list, tuple)):
        items = [cut(inner, limit) for inner in value]
        return [inner for inner, _ in items], sum(count for _, count in items)
    return value, 0


def _cut_on_disk(value: OnDisk[Any], limit: int) -> tuple[OnDisk[Any], int]:
    count = sum(cut(item, limit)[1] for item in value)
    if not count:
        return value, 0
    short: OnDisk[Any] = OnDisk(value.folder)
    short.extend(cut(item, limit)[0] for item in value)
    return short, count
