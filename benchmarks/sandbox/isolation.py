"""Linux isolation primitives: namespaces with a private root, bubblewrap, privilege drop, resource limits.

Standard library only (system calls through ctypes): child.py loads this file outside the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import sysconfig
from pathlib import PurePath
from typing import NoReturn

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
_CLONE_NEWUSER = 0x10000000
_CLONE_OTHERS = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # mount, uts, ipc, pid, net
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE, _MS_RELATIME = 1 << 14, 1 << 18, 1 << 21
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522

BUBBLEWRAP = "bwrap+rlimits"  # namespaces and a private root made by bubblewrap
NAMESPACES = "namespaces+rlimits"  # the same made here
UID = "uid+rlimits"  # an unused user id; files that all may read, and the network, are open
RLIMITS = "rlimits"  # the own user id: nothing but resource limits
LEVELS = (BUBBLEWRAP, NAMESPACES, UID, RLIMITS)  # strongest first
ISOLATED = (BUBBLEWRAP, NAMESPACES)  # levels at which a program sees neither files nor network of the machine

SCRATCH = "/tmp"  # inside the private root
NOFILE = 64


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    names = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _call("mount", *names, ctypes.c_ulong(flags), options.encode())


def die_with_parent() -> None:
    """Ask for SIGKILL when the thread that started this process ends. Any later change of credentials undoes it."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that a daemon of the candidate can be found and killed."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_memory() -> None:
    """Forbid other processes of the same user to trace this one or to open its descriptors."""
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def spare_uid() -> int | None:
    """Return the user id a job should run under: an unused one when root, the own one otherwise.

    None means that root has no other id to change to (a user namespace that maps a single id).
    """
    if os.geteuid() != 0:
        return os.geteuid()
    with open("/proc/self/uid_map") as file:
        ranges = [(int(first), int(first) + int(count)) for first, _, count in map(str.split, file)]
    wanted = 0x60000000 + os.getpid()  # one id per worker keeps RLIMIT_NPROC and kill() per worker
    first, end = max(ranges, key=lambda pair: pair[1] - pair[0])
    if first <= wanted < end:
        return wanted
    return end - 1 - os.getpid() % 1000 if end - first > 60_000 else None


def unshare_namespaces() -> bool:
    """Leave the parent's namespaces (the pid namespace starts with the next child). Returns whether ids must be mapped.

    Raises OSError where the kernel or a container forbids it.
    """
    try:
        _call("unshare", _CLONE_NEWUSER | _CLONE_OTHERS)
        return True
    except OSError:
        _call("unshare", _CLONE_OTHERS)  # root in a kernel without user namespaces
        return False


def map_ids(pid: int, uid: int) -> None:
    """Give the new user namespace of process `pid` its ids: own ones and `uid`. Called from the parent namespace."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    if own_uid != 0:
        _write(f"/proc/{pid}/setgroups", "deny")  # the kernel's condition for an unprivileged gid_map
    gids = {own_gid, uid} if own_uid == 0 else {own_gid}
    for name, ids in (("uid_map", {own_uid, uid}), ("gid_map", gids)):
        _write(f"/proc/{pid}/{name}", "".join(f"{i} {i} 1\n" for i in sorted(ids)))


def build_private_root(root: str) -> int | None:
    """Make the empty directory `root` this process's file system: libraries and stdlib read-only, SCRATCH writable.

    Must run as pid 1 of a new pid namespace. Returns a descriptor of its /proc, which stays out of the candidate's
    reach, or None where a container forbids mounting it. Raises OSError if a mount is refused.
    """
    _forbid_kernel_memory()
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in ("/lib", "/lib64"):
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
    for path in _outermost(_readable_trees()):
        _bind_read_only(path, root + path)
    for path in _package_folders():
        if os.path.isdir(root + path):
            _mount("tmpfs", root + path, "tmpfs", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "size=4k,mode=755")
    for name in ("/dev", "/proc", SCRATCH):
        os.mkdir(root + name)
    os.close(os.open(root + "/dev/null", os.O_CREAT | os.O_WRONLY))
    _mount("/dev/null", root + "/dev/null", None, _MS_BIND)
    try:
        _mount("proc", root + "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        proc = os.open(root + "/proc", os.O_RDONLY | os.O_DIRECTORY)
        _call("umount2", os.fsencode(root + "/proc"), _MNT_DETACH)
    except PermissionError:
        proc = None
    _mount(None, root, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    mount_scratch()
    return proc


def _forbid_kernel_memory() -> None:
    """Close what RLIMIT_AS does not see: System V objects, and whatever nested namespaces would allow."""
    for name in ("user/max_user_namespaces", "kernel/shmall", "kernel/msgmni"):
        with contextlib.suppress(OSError):  # read-only /proc/sys in some containers
            _write(f"/proc/sys/{name}", "0")


def enter_bubblewrap(program: str, code: str, uid: int | None, command: list[str]) -> NoReturn:
    """Replace this process by `program` running `command` as pid 1 of new namespaces, behind a private root.

    The folder `code` is in that root as well; the ids of root and `uid` are the only ones. The command keeps the
    capabilities inside, which `finish_bubblewrap` and `drop_privileges` need. Raises OSError.
    """
    words = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-add", "ALL"]
    if os.geteuid() == 0 and uid is not None:  # bubblewrap itself would map root alone, which has no process limit
        words += ["--userns", str(_user_namespace(uid))]
    else:
        words += ["--unshare-user"]
    for path in ("/lib", "/lib64"):
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
    bound = _outermost(_readable_trees())
    needed = [*bound, code, *{sys.executable, os.path.realpath(sys.executable)}]
    above = {parent for path in needed for parent in map(str, PurePath(path).parents)} - {"/", *bound} | {"/etc"}
    for path in sorted(above):
        words += ["--perms", "0755", "--dir", path]  # else closed to the job's user
    for path in needed:
        words += ["--ro-bind", path, path]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]  # where the loader finds libpython
    for path in sorted(_package_folders()):
        if os.path.isdir(path) and any(path.startswith(tree + "/") for tree in bound):
            words += ["--tmpfs", path, "--remount-ro", path]
    words += ["--dev-bind", "/dev/null", "/dev/null", "--proc", "/proc", "--dir", SCRATCH]
    words += ["--remount-ro", "/", "--chdir", "/", "--", *command]
    os.execv(program, words)


def _user_namespace(uid: int) -> int:
    """A descriptor, to be inherited, of a new user namespace with the ids of root and `uid`."""
    ready, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _call("unshare", _CLONE_NEWUSER)
            os.write(report, b"yes")
            signal.pause()  # until it is killed
        finally:
            os._exit(1)
    os.close(report)
    try:
        if os.read(ready, 3) != b"yes":
            raise PermissionError("no user namespaces here")
        map_ids(pid, uid)
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.set_inheritable(descriptor, True)
    return descriptor


def finish_bubblewrap(code: str) -> int:
    """Take away what only the start needed: /proc and the folder `code`; mount SCRATCH. Returns a descriptor of /proc.

    Raises OSError if bubblewrap did not leave the capabilities for it.
    """
    with contextlib.suppress(OSError):  # the read-only cover that bubblewrap puts on it
        _call("umount2", b"/proc/sys", _MNT_DETACH)
    _forbid_kernel_memory()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    for path in ("/proc", code):
        _call("umount2", os.fsencode(path), _MNT_DETACH)
    mount_scratch()
    return proc


def mount_scratch() -> None:
    """Mount an empty writable SCRATCH."""
    _mount("tmpfs", SCRATCH, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "size=32m,nr_inodes=4096,mode=1777")


def unmount_scratch() -> None:
    """Drop SCRATCH with everything in it."""
    _call("umount2", SCRATCH.encode(), _MNT_DETACH)


def _readable_trees() -> list[str]:
    """Return what the interpreter needs to import its standard library, parents before children."""
    paths = {"/lib", "/lib64", "/usr/lib", "/usr/lib64", os.path.join(sys.base_exec_prefix, "lib")}
    paths |= {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return sorted(path for path in paths if os.path.isdir(path) and not os.path.islink(path))


def _outermost(paths: list[str]) -> list[str]:
    """Drop the paths below another one; `paths` are sorted."""
    kept: list[str] = []
    for path in paths:
        if not any(path == other or path.startswith(other + "/") for other in kept):
            kept.append(path)
    return kept


def _package_folders() -> set[str]:
    """Return the folders of installed packages; a data set shipped as a package may hold the answers."""
    shared = "/usr/lib/python3/dist-packages"
    return {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), shared} | {
        os.path.join(sysconfig.get_path(name), folder)
        for name in ("stdlib", "platstdlib")
        for folder in ("site-packages", "dist-packages")
    }


def _bind_read_only(source: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    _mount(source, target, None, _MS_BIND | _MS_REC)
    kept = os.statvfs(target).f_flag  # a user namespace may not drop the flags of the original mount
    flags = kept & (_MS_NODEV | _MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    if kept & os.ST_RELATIME:
        flags |= _MS_RELATIME
    _mount(None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | flags)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def drop_privileges(uid: int | None) -> None:
    """Change to `uid` when root, give up every capability and the way back to them, and die with the parent."""
    if uid is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, empty = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _call("capset", header, empty)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    die_with_parent()


def limit_resources(cpu_seconds: int, memory_bytes: int, file_bytes: int, processes: int) -> None:
    """Set limits that cannot be raised again. CPU time ends by SIGXCPU, and one second later by SIGKILL."""
    for name, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, NOFILE),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        limit = resource.getrlimit(name)[1]
        value = value if limit == resource.RLIM_INFINITY else min(value, limit)
        resource.setrlimit(name, (min(value, cpu_seconds) if name == resource.RLIMIT_CPU else value, value))
