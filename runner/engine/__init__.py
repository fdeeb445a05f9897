"""One module per verb; talks only to ports.

The database decides, a message only wakes somebody up: every verb may be called twice, late, or not
at all, and the next round of the clock makes it good.
"""
