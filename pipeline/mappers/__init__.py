"""Export formats, a file each; other packages add theirs as entry points `trace_import.mappers`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from pipeline.errors import UsageError
from pipeline.mappers import (
    braintrust,
    chat,
    datadog,
    helicone,
    langfuse,
    langsmith,
    langsmith_dataset,
    langsmith_fetch,
    mlflow,
    openinference,
    opik,
    otlp,
    weave,
)
from pipeline.mappers.mapper import Mapper

ENTRY_POINTS = "trace_import.mappers"
MAPPERS: Mapping[str, Mapper] = MappingProxyType(
    {
        mapper.name: mapper
        for mapper in (
            langfuse.MAPPER,
            langsmith.MAPPER,
            langsmith_dataset.MAPPER,
            langsmith_fetch.MAPPER,
            otlp.MAPPER,
            mlflow.MAPPER,
            openinference.MAPPER,
            datadog.MAPPER,
            weave.MAPPER,
            braintrust.MAPPER,
            opik.MAPPER,
            helicone.MAPPER,
            chat.MAPPER,
        )
    }
)
"""The built-in ones. `custom` is not among them: it is made from a configuration, by custom.custom_mapper."""


def find_mapper(name: str) -> Mapper:
    """The mapper for `source.format: name`, built in or installed; UsageError names the nearest one."""
    if name in MAPPERS:
        return MAPPERS[name]
    if name == "custom":
        raise UsageError("source.format: custom needs mapping.trace, which says where things are in a record")
    from importlib.metadata import entry_points  # noqa: PLC0415  (slow, and only needed for formats of others)

    installed = entry_points(group=ENTRY_POINTS)
    for point in installed.select(name=name):
        try:
            loaded = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"source.format: {name}: the mapper {point.value} cannot be loaded ({error})") from error
        if not isinstance(loaded, Mapper):
            raise UsageError(f"source.format: {name}: {point.value} is not a pipeline.mappers.mapper.Mapper")
        return loaded
    known = sorted({*MAPPERS, "custom", *installed.names})
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}? Known are" if nearest else "known are"
    raise UsageError(f"source.format: {name} is not a format; {hint} auto, {', '.join(known)}")


def installed_mappers() -> dict[str, Mapper]:
    """The built-in mappers and those of other packages, for detection; slow, so ask once."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    names = entry_points(group=ENTRY_POINTS).names
    return {**MAPPERS, **{name: find_mapper(name) for name in sorted(names) if name not in MAPPERS}}
