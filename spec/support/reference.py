#!/usr/bin/env python3
"""The decoder that differential.lua compares ours with: Python's json module.

Knows nothing of ours. Reads documents from its standard input, and writes for each what it makes
of it, both as "SIZE\\nBYTES": a mark and the value. Marks: "=" accepted, "~" accepted only by a
decoder that replaces what is no Unicode, "-" rejected. Values: see `write`.

Where Python's module and ours differ on purpose, and why:
 1. NaN, Infinity, -Infinity are rejected here: RFC 8259 has no such numbers.
 2. Numbers that round to infinity are rejected: a value that no number is close to is no value.
 3. Integers beyond 64 bits are the nearest float: Lua has no larger ones, and ids that a server
    means to be exact are strings.
 4. Lone surrogates are U+FFFD, or rejected where the mark is "~": half an emoji, cut by a length
    limit, must not cost the task; and Lua's strings are UTF-8.
 5. Bytes that are no UTF-8 are U+FFFD, one for each maximal subpart (section 3.9 of the Unicode
    standard), or rejected likewise.
 6. More than 64 levels are rejected: no task has ten, and the stack is the host's.
 7. One byte order mark at the start is skipped: RFC 8259 allows it, and servers send it.
All else is the same: the values bit by bit, with the last of duplicate keys.
"""

import json
import math
import re
import struct
import sys

LEVELS = 64
LONE = re.compile("[\ud800-\udfff]")


class Pairs(list):
    """An object's members, the overwritten ones too: what they hold counts as well."""


def refuse(word):
    raise ValueError(word)


def read_float(text):
    value = float(text)
    return value if math.isfinite(value) else refuse(text)


def read_int(text):
    if len(text) > 25:  # Python refuses to read thousands of digits
        return read_float(text)
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else float(value)


# Its own objects must not be mistaken for the parser's lists: hence a class.
decoder = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_float=read_float, parse_int=read_int, parse_constant=refuse
)


class Writer:
    """A value as bytes in which nothing is lost: n t f, i and digits, d and the bits of a float,
    s and size and text, [ ] around elements, { } around keys and values in the keys' order."""

    def __init__(self):
        self.parts = []
        self.lone = False

    def text(self, value):
        fixed = value
        if not value.isascii():
            fixed = LONE.sub("\ufffd", value)
            self.lone = self.lone or fixed is not value and fixed != value
        return fixed.encode()

    def members(self, pairs, level):
        found = {}
        for key, value in pairs:
            inner = Writer()
            inner.write(value, level)
            found[self.text(key)] = inner.parts
            self.lone = self.lone or inner.lone
        for key in sorted(found):
            self.parts.append(b"s%d:%s" % (len(key), key))
            self.parts.extend(found[key])

    def write(self, value, level):
        add = self.parts.append
        if value is None or value is True or value is False:
            add(b"n" if value is None else b"t" if value else b"f")
        elif isinstance(value, str):
            text = self.text(value)
            add(b"s%d:%s" % (len(text), text))
        elif isinstance(value, int):
            add(b"i%d" % value)
        elif isinstance(value, float):
            add(b"d%016x" % struct.unpack(">Q", struct.pack(">d", value)))
        elif level >= LEVELS:
            refuse("nested too deep")
        elif isinstance(value, Pairs) and value:  # an empty one is a table like any other in Lua
            add(b"{")
            self.members(value, level + 1)
            add(b"}")
        else:
            add(b"[")
            for element in value:
                self.write(element, level + 1)
            add(b"]")


def outcome(document):
    if document[:3] == b"\xef\xbb\xbf":
        document = document[3:]
    mark = b"="
    try:
        text = document.decode()
    except UnicodeDecodeError:
        text = document.decode("utf-8", "replace")
        mark = b"~"
    writer = Writer()
    try:
        text = text.strip(" \t\r\n")
        value, end = decoder.raw_decode(text) if text else refuse("empty")
        if end != len(text):
            refuse("more")
        writer.write(value, 0)
    except (ValueError, RecursionError):
        return b"-"
    return (b"~" if writer.lone else mark) + b"".join(writer.parts)


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        line = source.readline()
        if not line:
            return
        result = outcome(source.read(int(line)))
        sink.write(b"%d\n%s" % (len(result), result))


main()
