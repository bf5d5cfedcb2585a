"""What is taken out of a trace before anything of it leaves, or is written down.

patterns.py    what is looked for in texts: ready-made rules and the user's own
paths.py       places in a trace that are dropped
content.py     structure, times and counts only
clean.py       the step: a Trace becomes a Trace without them, and each rule is counted
"""
