"""What no text may tell anybody to do: it is done at night, as root, on a machine where others work."""

from __future__ import annotations

import re

# It changes what others need as it is, runs what others have made, or takes something away that is not ours.
_HARMFUL = re.compile(
    r"\b(chown|chgrp|setfacl|mv|rm|rmdir|unlink)\b|chmod (?!g-wx,o= )|\bchmod\b.*[+]|-m pip|\bdelete (it|the file)\b"
)


def assert_harmless(*texts: str | None) -> None:
    """Fails for a text that tells somebody to do harm."""
    for text in texts:
        found = _HARMFUL.search(text or "")
        assert found is None, (found, text)
