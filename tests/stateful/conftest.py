"""The long profile, so that `--hypothesis-profile=fuzz` names one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fuzz", settings())
