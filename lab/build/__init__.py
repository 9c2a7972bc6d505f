"""Builds what the lab's guests are made of, once, into a cache folder.

Four artifacts: a User-Mode Linux kernel, a root file system, the Python packages that our programs
need, and a copy of our programs. Each is keyed by what goes into it, so a change of an input makes
a new artifact and an unchanged one is found again without network.

What must never enter: anything about a running lab. The lab's runtime calls `ensure` and uses the
paths that come back; it never looks into the cache itself.
"""

from lab.build.artifacts import Artifacts, ensure, status

__all__ = ["Artifacts", "ensure", "status"]
