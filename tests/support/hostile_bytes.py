"""Bytes that no honest peer sends: small ones, frames as large as may be, and what names a file or an address."""

from __future__ import annotations

import gzip
import struct

from support.dialogues import ACCEPTED, ENDED
from support.frames import frame

MIB = 1024 * 1024
LIMIT_OF_CLIENT, LIMIT_OF_SERVER = 16 * MIB, MIB  # bytes of what each of them may send after `welcome`

SMALL = {
    "a length of 0": struct.pack(">I", 0),
    "a length of 4 GiB": b"\xff\xff\xff\xff",
    "a length beyond every limit": struct.pack(">I", LIMIT_OF_CLIENT + 1) + b"<alive/>",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "not XML": frame("x" * 4096),
    "only the beginning": frame("<alive"),
    "not UTF-8": frame(b"<alive>\xff</alive>"),
    "UTF-16": frame('<?xml version="1.0" encoding="UTF-16"?><alive/>'.encode("utf-16")),
    "a DTD": frame("<!DOCTYPE alive><alive/>"),
    "a billion laughs": frame(
        '<!DOCTYPE alive [<!ENTITY a0 "ha">'
        + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
        + "]><alive>&a9;</alive>"
    ),
    "an external entity": frame('<!DOCTYPE alive [<!ENTITY x SYSTEM "file:///dev/zero">]><alive>&x;</alive>'),
    "a parameter entity": frame('<!DOCTYPE alive [<!ENTITY % x SYSTEM "file:///dev/zero"> %x;]><alive/>'),
    "a comment": frame("<!-- --><alive/>"),
    "a processing instruction": frame("<alive/><?python print(1)?>"),
    "a namespace": frame('<alive xmlns="urn:x"/>'),
    "depth": frame("<a>" * 580 + "</a>" * 580),
    "attributes": frame("<alive " + " ".join(f'a{i}="1"' for i in range(450)) + "/>"),
    "two documents": frame("<alive/><alive/>"),
    "an unknown message": frame("<shutdown/>"),
    "an unknown attribute": frame('<alive x="1"/>'),
    "CDATA where no text belongs": frame("<alive><![CDATA[x]]></alive>"),
    "a gzip file": frame(gzip.compress(b"<alive/>")),
    "a bomb": frame(gzip.compress(b" " * 3 * MIB)),
}
# Payloads that are about as large as the limit. Made when they are used: together they are a quarter of a gigabyte.
LARGE = {
    "letters": lambda limit: b"x" * limit,
    "letters and one of four bytes": lambda limit: b"x" * (limit - 4) + "\U0010ffff".encode(),
    "bytes that are no UTF-8": lambda limit: b"\xff" * limit,
    "brackets": lambda limit: b"<" * limit,
    "white space": lambda limit: b" " * limit,
    "much depth": lambda limit: b"<a>" * (limit // 3),
    "depth that ends": lambda limit: b"<a>" * 20_000 + b"x" * (limit * 3 // 4) + b"</a>" * 20_000,
    "many attributes": lambda limit: (
        b"<alive " + b" ".join(b'a%d="1"' % number for number in range(limit // 16)) + b"/>"
    ),
    "a long name": lambda limit: b"<" + b"a" * (limit * 5 // 8) + b"/>",
    "a long attribute": lambda limit: b'<ended status="' + b"x" * (limit * 5 // 8) + b'"/>',
    "an attribute that never ends": lambda limit: b'<ended status="' + b"x=" * (limit // 2 - 8),
    "a text where none belongs": lambda limit: b"<alive>" + b"x" * (limit - 15) + b"</alive>",
    "many jobs too many": lambda _limit: b"<jobs>" + b"<module>A</module>" * 19_000 + b"</jobs>",
    "CDATA without end": lambda limit: b"<alive>" + b"<![CDATA[" * (limit // 9 - 1),
    "references": lambda limit: b"<alive>" + b"&#65;" * (limit // 5 - 3) + b"</alive>",
    "a large DTD": lambda limit: (
        b"<!DOCTYPE a [" + b"".join(b'<!ENTITY a%d "x">' % number for number in range(limit // 33)) + b"]><alive/>"
    ),
    "text after the end": lambda limit: b"<alive/>" + b"x" * (limit - 8),
}
FOR_THE_CLIENT = {
    **SMALL,
    "a message of its own": frame("<jobs><module>A</module></jobs>"),
    "an early end": frame(ENDED),
}
FOR_THE_SERVER = {
    **SMALL,
    "a message of its own": frame(ACCEPTED),
    "a stray response": frame('<response nonce="" proof=""/>'),
}
# Those that cost most to show: quadratic patterns, characters that take more room as text.
SHOWN = [
    "letters",
    "letters and one of four bytes",
    "bytes that are no UTF-8",
    "brackets",
    "an attribute that never ends",
]

NAMING = {
    "a DTD": '<!DOCTYPE {tag} SYSTEM "{url}"><{tag}/>',
    "an external entity": '<!DOCTYPE {tag} [<!ENTITY x SYSTEM "{url}">]><{tag} session="1">&x;</{tag}>',
    "a parameter entity": '<!DOCTYPE {tag} [<!ENTITY % x SYSTEM "{url}"> %x;]><{tag}/>',
    "XInclude": '<{tag} xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{url}" parse="text"/></{tag}>',
    "a schema": '<{tag} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:x {url}" '
    'xsi:noNamespaceSchemaLocation="{url}"/>',
    "a style sheet": '<?xml-stylesheet type="text/xsl" href="{url}"?><{tag}/>',
    "a base": '<{tag} xml:base="{url}"/>',
}
