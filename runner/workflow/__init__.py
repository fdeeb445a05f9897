"""Definition files -> values: read everything, report every problem with its place, run nothing.

A file is GitHub Actions syntax. What GitHub knows and this version does not run is refused by name
and never ignored, because a workflow that half runs does harm that nobody asked for. The text is
hostile until read: limits are applied while it is parsed, before anything is built.
"""
