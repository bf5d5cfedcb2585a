"""Records of one trace, and traces of one conversation, brought together on disk in bounded memory.

spill.py           values under keys, kept on disk and read back key by key
scattered.py       pieces of traces: each trace with all of its pieces, each piece once
earlier.py         pieces that earlier runs have read, from their files
conversations.py   traces that share a conversation
"""
