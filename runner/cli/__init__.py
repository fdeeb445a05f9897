"""The command line: parse, call one verb, print.

A command's module is imported when the command is used: `runner --version` needs none of them. What a
server knows is asked over its REST API, so every command works from another machine too.
"""
