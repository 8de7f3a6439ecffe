"""Register the long profile, so that `--hypothesis-profile=fuzz` is accepted."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fuzz", settings())
