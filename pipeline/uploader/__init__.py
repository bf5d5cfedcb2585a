"""Sessions go out, outcomes come back.

uploader.py     one session's steps, and all of them together
pacing.py       the queue in front of the gates that every attempt passes
gates.py        those gates: one pause for all, a breaker, a number at once, evenly spaced starts
limit.py        finding a rate limit
meter.py        what it lets through, measured between two refusals
noise.py        refusals that have nothing to do with it
windows.py      limits that are counted by the minute
concurrency.py  finding how many at once
breaker.py      when nothing answers
hints.py        what headers tell about the limit
retry.py        when to try again
refusals.py     when many refusals are the target's fault
places.py       how many sessions are on their way
counts.py       what was done so far
lookups.py      which sessions are there already
questions.py    other questions, and changes that may be repeated
attribution.py  whose they are
comparison.py   whether they are what the ledger says
client.py       Galtea's API: what each answer means
transport.py    bytes out, bytes in (transport_pyreqwest.py: fast, transport_httpx.py: everywhere)
"""
