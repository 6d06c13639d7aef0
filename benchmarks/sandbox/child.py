"""Sandbox worker, run as `python -s -S -B child.py CONFIG` by worker.py: forks one short-lived process per job.

A request is a header (see HEADER) and one JSON object (source, entry, inputs); a reply is an 8-byte big-endian length,
a JSON line about how the process ended, and the bytes it wrote, unread. The expected values never come here.

The worker never parses a request or a reply, and wipes both after each job, so that a job cannot find an earlier
candidate or its values in the memory it inherits by fork.

Config keys: memory_mb; level (the isolation to set up; the worker ends without a word where it cannot be had); parent;
for bubblewrap, its path before it has been entered and uid after that.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import os
import random
import select
import shutil
import signal
import struct
import sys
import threading
import time
import types
from typing import Any, NoReturn

# Imported once before forking: what solutions use most, and all there is where the job's uid cannot read the library.
_PRELOAD = (
    "abc array ast asyncio base64 binascii bisect bz2 calendar cmath codecs collections.abc copy csv ctypes "
    "dataclasses datetime decimal difflib enum fnmatch fractions functools hashlib heapq html inspect io "
    "itertools keyword locale math numbers operator pprint queue random re reprlib secrets statistics string "
    "struct tempfile textwrap timeit tokenize traceback typing unicodedata uuid weakref zlib"
)

HEADER = struct.Struct(">QII")  # bytes of the request, wall limit in milliseconds, CPU limit in seconds
_RESULT_FD = 3
_MAX_REPLY = 8 << 20
_MAX_FILE = 16 << 20
_PROCESSES = 256  # threads count too
_THREAD_STACK = 512 << 10  # many threads have to fit into the address space
_TICK_SECONDS = 0.02  # how often the memory of the job's process tree is summed
_OUT_OF_MEMORY = b'{"status": "memory", "detail": "MemoryError", "values": []}'


def run_candidate(request: dict[str, Any], codec: types.ModuleType) -> bytes:
    """Execute the source, call the entry on a fresh copy of each input, and return the reply document."""
    status, detail, values = "error", "", []
    try:
        module = types.ModuleType("candidate")
        sys.modules["candidate"] = sys.modules["__main__"] = module  # dataclasses and pickle look their module up
        source = codec.decode(request["source"]).removeprefix("\ufeff")
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), module.__dict__)
        entry = module.__dict__.get(request["entry"])
        if not callable(entry):
            status, detail = "no_entry", f"no callable named {request['entry']}"
        else:
            left = _MAX_REPLY // 2
            for form in request["inputs"]:
                text = _encode_value(entry(*codec.decode(form)), codec, left)
                left -= len(text)
                values.append(text)
            status = "ok"
            if len(sys._current_frames()) > 1:
                detail = "left threads running"
    except MemoryError:
        return _OUT_OF_MEMORY
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the candidate's errors as well
        status, detail = "error", _describe(error)
    head = json.dumps({"status": status, "detail": detail})[:-1]
    return f'{head}, "values": [{", ".join(values) if status == "ok" else ""}]}}'.encode()


def _encode_value(value: object, codec: types.ModuleType, limit: int) -> str:
    try:
        text = json.dumps(codec.encode(value))
        return text if len(text) <= limit else '["o", "size"]'
    except codec.NotPlain as error:
        return json.dumps(["o", str(error)[:80]])


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:  # the candidate's own __str__ failed
        return type(error).__name__[:300]


class Worker:
    """Runs one job at a time in a fresh child process and cleans up after it."""

    def __init__(self, config: dict[str, Any], codec: types.ModuleType, isolation: types.ModuleType) -> None:
        self.config, self.codec, self.isolation = config, codec, isolation
        self.uid = config["uid"] if "uid" in config else isolation.spare_uid()
        self.namespaced = False
        self.proc: int | None = None
        self.null = os.open("/dev/null", os.O_RDWR)
        self.reply = bytearray(_MAX_REPLY + 1)
        self.scratch = os.getcwd()

    def serve(self, level: str) -> NoReturn:
        """Announce the level, then answer requests until stdin closes."""
        self.isolation.hide_memory()
        gc.collect()
        gc.freeze()  # the collector would otherwise copy shared pages in every job
        self.own_bytes = self._tree_bytes(include_self=True)
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.wake = wake_read
        _send(json.dumps({"level": level}).encode())
        while True:
            header = bytearray(HEADER.size)
            _read_into(header)
            size, wall_ms, cpu_seconds = HEADER.unpack(header)
            request = bytearray(size)
            _read_into(request)
            end, length = self.run(request, wall_ms / 1000, cpu_seconds)
            request[:] = bytes(len(request))
            _send(json.dumps(end).encode() + b"\n", memoryview(self.reply)[:length])
            self.reply[:length] = bytes(length)

    def run(self, request: bytearray, wall_seconds: float, cpu_seconds: int) -> tuple[dict[str, Any], int]:
        """Run one job; return how it ended and the number of reply bytes."""
        result, result_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_job(request, result_write, cpu_seconds)
            finally:
                os._exit(70)
        os.close(result_write)
        end, code, cpu, length = self._watch(pid, result, started + wall_seconds)
        ms = 1000 * (time.monotonic() - started)
        waited = 0.0
        if end != "exit":
            waited = self._waited(pid)
            self._kill(pid)
            usage = os.wait4(pid, 0)[2]
            cpu = usage.ru_utime + usage.ru_stime
        stragglers = self._kill_others() and end == "exit"
        length = self._drain(result, length)
        os.close(result)
        if length > _MAX_REPLY:
            end = "overflow"
        self._clean_scratch()
        return {"end": end, "code": code, "cpu": cpu, "waited": waited, "ms": ms, "stragglers": stragglers}, length

    def _become_job(self, request: bytearray, result: int, cpu_seconds: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setsid()
        for descriptor in (0, 1, 2):
            os.dup2(self.null, descriptor)
        if result != _RESULT_FD:
            os.dup2(result, _RESULT_FD)
        os.set_blocking(_RESULT_FD, True)
        os.closerange(_RESULT_FD + 1, self.isolation.NOFILE)
        os.chdir(self.isolation.SCRATCH if self.namespaced else self.scratch)
        self.isolation.limit_resources(cpu_seconds, self.config["memory_mb"] << 20, _MAX_FILE, _PROCESSES)
        self.isolation.drop_privileges(self.uid)
        random.seed(0)
        pid = os.getpid()
        job = json.loads(request)
        request[:] = bytes(len(request))
        document = memoryview(run_candidate(job, self.codec))
        if os.getpid() != pid:  # a process that the candidate forked got here as well
            os._exit(0)
        while document:
            document = document[os.write(_RESULT_FD, document) :]
        os._exit(0)  # no atexit hook, destructor or remaining thread of the candidate has a say

    def _watch(self, pid: int, result: int, deadline: float) -> tuple[str, int, float, int]:
        """Wait for the job; return (how it ended, exit code or minus the signal, CPU seconds, reply bytes read)."""
        length = 0
        poller = select.poll()
        poller.register(0, 0)  # hang-up only: the parent is gone
        poller.register(self.wake, select.POLLIN)
        poller.register(result, select.POLLIN)
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return "exit", os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, length
            left = deadline - time.monotonic()
            if left <= 0:
                return "wall", 0, 0.0, length
            for descriptor, event in poller.poll(1000 * min(left, _TICK_SECONDS)):
                if descriptor == 0:
                    os._exit(0)
                if descriptor == self.wake:
                    os.read(self.wake, 512)
                elif event & select.POLLIN:
                    length = self._drain(result, length)
                    if length > _MAX_REPLY:
                        return "overflow", 0, 0.0, length
                else:
                    poller.unregister(result)
            if self._tree_bytes() > self.config["memory_mb"] << 20:
                return "memory", 0, 0.0, length

    def _drain(self, result: int, length: int) -> int:
        """Read what the pipe holds into the reply buffer, up to its size; return the new length."""
        view = memoryview(self.reply)
        with contextlib.suppress(BlockingIOError):
            while length <= _MAX_REPLY and (count := os.readv(result, [view[length:]])):
                length += count
        return length

    def _tree_bytes(self, include_self: bool = False) -> int:
        """Return the resident bytes of the job's processes beyond what each inherits from the worker."""
        if self.proc is None:
            return 0
        total, page = 0, os.sysconf("SC_PAGE_SIZE")
        for name in os.listdir(self.proc):
            if not name.isdigit() or (name == "1" and not include_self):
                continue
            with contextlib.suppress(OSError):  # ended meanwhile
                file = os.open(f"{name}/statm", os.O_RDONLY, dir_fd=self.proc)
                resident = int(os.read(file, 256).split()[1]) * page
                os.close(file)
                total += resident if include_self else max(0, resident - self.own_bytes)
        return total

    def _waited(self, pid: int) -> float:
        """Return the seconds that the job's threads were ready to run while others ran; 0 where the kernel is mum."""
        base = "/proc/" if self.proc is None else ""
        waited = 0.0
        with contextlib.suppress(OSError, IndexError):  # the job, or one of its threads, ended meanwhile
            tasks = os.open(f"{base}{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.proc)
            try:
                for name in os.listdir(tasks):
                    file = os.open(f"{name}/schedstat", os.O_RDONLY, dir_fd=tasks)
                    waited += int(os.read(file, 256).split()[1]) / 1e9
                    os.close(file)
            finally:
                os.close(tasks)
        return waited

    def _kill(self, pid: int) -> None:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def _kill_others(self) -> bool:
        """Kill and reap every process that the job left; return whether there was one."""
        found = False
        give_up = time.monotonic() + 2.0
        while time.monotonic() < give_up:
            if self.namespaced:
                assert os.getpid() == 1, "kill(-1) outside the private pid namespace"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
                    found = True
            else:
                for pid in _children():
                    self._kill(pid)
                    found = True
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return found
            time.sleep(0.001)
        os._exit(1)  # something escapes the kill: the parent starts a new worker

    def _clean_scratch(self) -> None:
        if self.namespaced:
            state = os.stat(self.isolation.SCRATCH)
            if (state.st_mode & 0o7777, state.st_nlink) != (0o1777, 2) or os.listdir(self.isolation.SCRATCH):
                self.isolation.unmount_scratch()
                self.isolation.mount_scratch()
            return
        for name in os.listdir(self.scratch):
            path = os.path.join(self.scratch, name)
            with contextlib.suppress(OSError, RecursionError):  # the parent removes the rest at the end
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def _children() -> list[int]:
    own, found = os.getpid(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == own:
                found.append(int(name))
    return found


def _read_into(buffer: bytearray) -> None:
    view = memoryview(buffer)
    while view:
        count = os.readv(0, [view])
        if count == 0:
            os._exit(0)
        view = view[count:]


def _send(*parts: bytes | memoryview) -> None:
    for part in (sum(map(len, parts)).to_bytes(8, "big"), *parts):
        view = memoryview(part)
        while view:
            view = view[os.write(1, view) :]


def _serve_in_namespaces(worker: Worker) -> None:
    """Serve from inside new namespaces and end with that worker; return at once if they cannot be set up.

    The set-up happens in a child, because a process cannot undo a half-done change of namespaces.
    """
    isolation = worker.isolation
    ready, report = os.pipe()
    mapped, go_on = os.pipe()
    outer = os.fork()
    if outer == 0:
        try:
            os.close(ready)
            os.close(go_on)
            os.write(report, b"map" if isolation.unshare_namespaces() else b"---")
            if os.read(mapped, 2) == b"ok":
                os.close(mapped)
                isolation.die_with_parent()
                pid = os.fork()  # becomes pid 1: when it ends, the kernel kills all that is left of the jobs
                if pid == 0:
                    isolation.die_with_parent()
                    worker.proc = isolation.build_private_root(worker.scratch)
                    worker.namespaced = True
                    os.write(report, b"yes")
                    os.close(report)
                    worker.serve(isolation.NAMESPACES)
                os.close(report)
                os.waitpid(pid, 0)
        finally:
            os._exit(1)
    os.close(report)
    os.close(mapped)
    kind = os.read(ready, 3)
    with contextlib.suppress(OSError):  # refused: the closed pipe tells the child
        if kind == b"map":
            isolation.map_ids(outer, worker.uid)
        if kind:
            os.write(go_on, b"ok")
    os.close(go_on)
    if os.read(ready, 3) == b"yes":
        for descriptor in (0, 1):
            os.dup2(worker.null, descriptor)  # only the inner worker holds the channel
    os.close(ready)
    os.waitpid(outer, 0)


def main() -> None:
    """Set up the isolation asked for and serve."""
    codec, isolation = importlib.import_module("values"), importlib.import_module("isolation")
    del sys.modules["values"], sys.modules["isolation"], sys.path[0]
    config = json.loads(sys.argv[1])
    level, folder = config["level"], os.path.dirname(os.path.abspath(__file__))
    isolation.die_with_parent()
    if "parent" in config and os.getppid() != config.pop("parent"):
        return
    os.umask(0o022)  # the job's user must be able to walk the private root
    if "bubblewrap" in config:  # comes back here inside
        program, config["uid"] = config.pop("bubblewrap"), isolation.spare_uid()
        command = [sys.executable, "-s", "-S", "-B", os.path.abspath(__file__), json.dumps(config)]
        isolation.enter_bubblewrap(program, folder, config["uid"], command)
    os.environ.clear()
    sys.argv[1:] = []
    for name in _PRELOAD.split():
        importlib.import_module(name)
    builtins.exit = builtins.quit = sys.exit  # as the module site would, which -S leaves out
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("900")  # when the host runs out of memory, a job goes first
    threading.stack_size(_THREAD_STACK)
    sys.stdout.reconfigure(errors="backslashreplace")
    worker = Worker(config, codec, isolation)
    if level == isolation.BUBBLEWRAP:
        worker.proc = isolation.finish_bubblewrap(folder)
        worker.namespaced = True
        worker.serve(level)
    if level == isolation.NAMESPACES:
        if worker.uid is not None:
            _serve_in_namespaces(worker)
        return
    isolation.adopt_orphans()
    if level == isolation.UID:
        if os.geteuid() != 0 or worker.uid is None:
            return
        os.chown(worker.scratch, worker.uid, worker.uid)
    worker.serve(level)


if __name__ == "__main__":
    main()
