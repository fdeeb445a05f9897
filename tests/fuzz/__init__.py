"""Inputs that nobody would write, for everything that reads what a repository or a step wrote.

`targets` says what each reader promises of any bytes at all. `test_readers` keeps it for some thousand inputs
of Hypothesis's, and `make fuzz` for as many as FUZZ_RUNS says, which atheris leads to ever new paths of
the code.
"""
