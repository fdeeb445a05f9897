"""The conversation between a workflow in Python and the engine: messages over one stream socket.

A message is a JSON object behind its length, four bytes, the highest first. `is` says what it is.

From the workflow: `ask` (a step), `took` (what was said of one ahead), `tell` (how the body of one ended),
`part` (of a value that is long, before its `tell`), `print` (what it prints), `drop` (nobody waits for it any
more), `find` (a module), `idle` (nothing can go on without an answer), `stack` (where it is), `end`.

From the engine: `begin`, `memory` (how the steps of earlier attempts ended, ahead), `proceed` (do it),
`recall` (how it ended, now or in an earlier attempt), `part` (of a value that is long, before its `recall`),
`stop` (end its body), `cancel`, `source` (of a module), `where` (asks for `stack`).
"""

import json
import struct
from typing import Any, Optional

LONGEST = 64 * 1024 * 1024
"""Bytes of one message."""
LONGEST_VALUE = 64 * 1024 * 1024
"""Bytes of a step's value as JSON."""
PART = 1024 * 1024
"""Bytes of one part of a value; what is no longer is told with how its step ended."""
MOST_OUTSIDE = 1024 * 1024
"""Bytes of one message that are outside its texts: values take many times the memory that they take here."""
HEADER = struct.Struct(">I")

Message = dict[str, Any]


class TooLong(ValueError):
    """A message that is longer than the limit, or no message at all."""


def pack(message: Message) -> bytes:
    """Raises `TooLong`; `TypeError` and `ValueError` where a value is nothing that JSON knows."""
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(data) > LONGEST:
        raise TooLong(f"a message of {len(data)} bytes; the limit is {LONGEST}")
    return HEADER.pack(len(data)) + data


def unpack(data: bytearray) -> Optional[Message]:
    """Take the first message off `data`; None where it is not all there yet. Raises `TooLong`."""
    if len(data) < HEADER.size:
        return None
    (length,) = HEADER.unpack_from(data)
    if length > LONGEST:
        raise TooLong(f"a message of {length} bytes; the limit is {LONGEST}")
    end = HEADER.size + length
    if len(data) < end:
        return None
    text = bytes(data[HEADER.size : end])
    del data[:end]
    if length > MOST_OUTSIDE and _outside(text) > MOST_OUTSIDE:
        raise TooLong(f"a message with more than {MOST_OUTSIDE} bytes outside its texts")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise TooLong("what came is no message") from None
    if not isinstance(message, dict) or not isinstance(message.get("is"), str):
        raise TooLong("what came is no message")
    return message


def _outside(data: bytes) -> int:
    """How many bytes of a message are outside its texts."""
    data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    quotes = data.count(b'"')
    return quotes if quotes > MOST_OUTSIDE else sum(map(len, data.split(b'"')[::2]))
