"""Sessions go out, outcomes come back.

uploader.py     one session's steps, and all of them together
pacing.py       the gates that every attempt passes
retry.py        when to try again
lookups.py      which sessions are there already
attribution.py  whose they are
client.py       Galtea's API: what each answer means
transport.py    bytes out, bytes in
"""
