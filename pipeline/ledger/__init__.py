"""The ledger: what is settled, what is in flight, what each run did. One SQLite file, one writer.

database.py   the file, its lock and its transactions
runs.py       runs, their files, their totals
admission.py  the rules over the nights: what is done about a session that is known already
overview.py   what it holds, for whoever asks while a run works
sessions.py   sessions admitted, intended, settled
settled.py    what it says is on the server, to compare with that
reopening.py  what was settled is to be sent again
rollbacks.py  what a run created is taken back
settling.py   how a session that was sent ended, and what that changes in the rows
"""
