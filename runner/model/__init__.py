"""Frozen values and pure transitions: what a run is, and how it may change.

Nothing here reads a clock or touches the world; time is an argument. A value that cannot be
right cannot be made.
"""
