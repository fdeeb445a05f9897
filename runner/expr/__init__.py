"""GitHub's expression language: text -> tree -> value.

Pure, and bounded in depth, work and size of what comes out, because a repository writes the
expressions and a server evaluates them. What an expression may see is what the caller hands in;
functions that need the world (`hashFiles`, `success` and its kin) are handed in too. Every error is
an `ExpressionError` that knows its place in the text.
"""
