"""Identifiers that sort by the time they were made."""

import secrets


def uuid7(at: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) for a time in microseconds since the epoch."""
    bits = (at // 1000 & (1 << 48) - 1) << 80
    bits |= 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
