"""Sessions go out, outcomes come back.

uploader.py       all sessions together: workers, stopping, giving up
delivery.py       the steps of one session, until it is settled
journey.py        what happened to it so far
attempts.py       one attempt, and when the next one may be made
contents.py       its turns in order, their spans, its end
standing.py       how the turns on the server stand against its own
beginnings.py     before its first turn leaves, the ledger says so
spans.py          the spans of its turns
wanted_spans.py   which of them it should have, and which the API shows
batches.py        how turns and spans are put into requests
checks.py         are the turns there that the API said it had stored?
showing.py        how long that may take to show
aside.py          the custom id of a session that makes way
pacing.py         the queue in front of the gates that every attempt passes
gates.py          those gates: one pause for all, a breaker, a number at once, evenly spaced starts
limit.py          finding a rate limit
meter.py          what it lets through, measured between two refusals
noise.py          refusals that have nothing to do with it
windows.py        limits that are counted by the minute
concurrency.py    finding how many at once
breaker.py        when nothing answers
hints.py          what headers tell about the limit
retry.py          when to try again
refusals.py       when many refusals are the target's fault
places.py         how many sessions are on their way
counts.py         what was done so far
lookups.py        which sessions are there already
gone_versions.py  versions of earlier runs: deleted since?
questions.py      other questions, and changes that may be repeated
attribution.py    whose they are
comparison.py     whether they are what the ledger says
client.py         Galtea's API: what each answer means
content_api.py    its routes of turns and spans
pages.py          its lists, read page by page
transport.py      bytes out, bytes in (transport_pyreqwest.py: fast, transport_httpx.py: everywhere)
"""
