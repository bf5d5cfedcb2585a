"""Writers of export formats, a file each: they say a canonical trace as that tool would export it.

Each has MAPPER (the mapper that reads it) and `write(trace: CanonicalTrace) -> list[Any]`: the records (lines of a
JSONL file) that hold the trace, children before parents, so that nothing relies on order. Where the tool needs ids
of another shape, the writer derives them.
"""
