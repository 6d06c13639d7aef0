"""The folder of a sandbox in the temporary directory, and the removal of folders whose owner was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "sandbox-"
_OWNER = "owner"  # a file that the owner holds locked as long as it lives


def make_scratch() -> tuple[Path, int]:
    """A new folder and the descriptor of its lock; closing the descriptor gives the folder up."""
    folder = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    lock = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: nobody can take it, so nobody removes the folder
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # only now under the name that others look for: a folder that is not locked yet looks like one of a dead owner
    return folder.rename(folder.with_name(folder.name[1:])), lock


def remove_leftovers() -> int:
    """Remove the folders of owners that no longer live; return how many. Those of other users are left alone."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # removed meanwhile, another user's, locked by a living owner, or no folder
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed += 1
            finally:
                os.close(lock)
    return removed
