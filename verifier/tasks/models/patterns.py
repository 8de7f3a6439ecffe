"""Regular expressions that select layers by their paths, limited so that matching one takes bounded time.

They come from manifests and adapters of other people. Python's `re` backtracks: each group and each quantifier of a
pattern can multiply the time by the length of the path.
"""

from __future__ import annotations

import re

# Maximum length of a pattern, far above what selects layers.
MAX_PATTERN_CHARACTERS = 256
# Maximum number of groups and quantifiers of a pattern: `.*layers[.](0|1)[.].*(q|v)_proj` has four.
MAX_CHOICES = 4
# Maximum length of a layer's path. The deepest models of transformers have paths of about 100 characters.
MAX_PATH_CHARACTERS = 256
# What a pattern may contain as often as it likes: escaped characters, and sets such as [0-9].
_SINGLE = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
# A group; a quantifier; not the mark that makes a quantifier lazy or a group one without a number.
_CHOICE = re.compile(r"[(*+{]|(?<![(*+?}])\?")
# A group that is repeated: matching such a pattern can take exponential time.
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")


def pattern_problem(pattern: str) -> str | None:
    """Return why a pattern cannot be used, or None when it can."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression: {error}"
    bare = _SINGLE.sub("x", pattern)
    too_complex = len(_CHOICE.findall(bare)) > MAX_CHOICES or _REPEATED_GROUP.search(bare)
    return "too complex: name the layers" if too_complex or len(pattern) > MAX_PATTERN_CHARACTERS else None


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern without a problem matches the whole path of a layer."""
    return len(path) <= MAX_PATH_CHARACTERS and re.fullmatch(pattern, path) is not None
