"""Everything that knows the wire, and nothing else: no socket, no clock, no file. The wire itself: PROTOCOL.md."""
