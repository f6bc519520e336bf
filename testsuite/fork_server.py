"""Runs Python programs in processes that are forked from one that has imported the engine.

To start Python and import the engine takes about a second, and the tests run some hundred programs.
A forked program is a separate process: it has its own arguments, environment, working folder,
standard streams, signals and exit status. Only the imports of the engine and of its libraries are
already done. A test of an import starts a new Python instead.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

import servers

_READY_SECONDS = 60
_LIBRARIES = ("celery.bin.celery", "celery.apps.worker", "kombu.transport.redis", "pyarrow", "rich")
_LENGTH_BYTES = 8
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
# Python, the dynamic linker and the C library read these variables only when a process starts.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")

Request = Mapping[str, Any]


class Program:
    """A program in a forked process, with the part of Popen that the tests need."""

    def __init__(self, connection: socket.socket, arguments: Sequence[str]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._answers = connection.makefile("r", encoding="ascii")
        self._connection = connection
        self.pid = int(self._answers.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative if a signal has ended the program.

        Raises TimeoutExpired if the program still runs after `timeout` seconds.
        """
        if self.returncode is None:
            readable, _, _ = select.select([self._connection], [], [], timeout)
            if not readable:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit status, or None while the program runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send the program a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send the program SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send the program SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The client of the process from which programs are forked."""

    def __init__(self, root: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._address = f"{self._folder.name}/socket"
        self._environment = {**os.environ, "PYTHONPATH": str(root)}
        command = [*servers.DIES_WITH_US, sys.executable, __file__, self._address]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=self._environment, cwd=root / "testsuite"
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not Path(self._address).exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                message = "the fork server did not start"
                raise RuntimeError(message)
            time.sleep(0.02)

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Return whether a forked process can have this environment.

        It cannot if a variable differs that is read only when a process starts.
        """
        names = {*environment, *self._environment}
        return not any(
            environment.get(name) != self._environment.get(name)
            for name in names
            if name.startswith(_READ_AT_START)
        )

    def start(  # noqa: PLR0913 - as many as Popen has for it
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        out: IO[bytes],
        err: IO[bytes],
        *,
        new_session: bool = False,
    ) -> Program:
        """Start `python ARGUMENTS` in a folder, with `new_session` in a new process group."""
        request = {
            "new_session": new_session,
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
        }
        payload = json.dumps(request).encode()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        length = len(payload).to_bytes(_LENGTH_BYTES)
        socket.send_fds(connection, [length], [out.fileno(), err.fileno()])
        connection.sendall(payload)
        return Program(connection, arguments)

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` in a folder and wait for it."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            program = self.start(arguments, folder, environment, out, err)
            try:
                status = program.wait(timeout)
            except subprocess.TimeoutExpired:
                program.kill()
                raise
            out.seek(0)
            err.seek(0)
            # subprocess decodes and translates line ends in this way with text=True.
            said, complained = (
                stream.read().decode().replace("\r\n", "\n").replace("\r", "\n")
                for stream in (out, err)
            )
            return subprocess.CompletedProcess(list(arguments), status, said, complained)

    def stop(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


@cache
def shared_fork_server() -> ForkServer:
    """Return the fork server of this process, which starts at the first call."""
    server = ForkServer(Path(__file__).parent.parent)
    atexit.register(server.stop)
    return server


def serve(address: str) -> Request:
    """Import the engine, and fork a process for each request.

    Returns the request in the forked process. The server itself never returns.
    """
    _import_all()
    # The garbage collector then leaves the imported objects alone, so that forked processes share
    # their memory.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    # The clients wait until the address exists, so it appears only when the server listens.
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    # A pidfd is readable when its process has ended.
    callers: dict[int, tuple[int, socket.socket]] = {}
    while True:
        watched: list[Any] = [listener, *callers]
        readable, _, _ = select.select(watched, [], [])
        for ended in callers.keys() & set(readable):
            pid, caller = callers.pop(ended)
            _, status = os.waitpid(pid, 0)
            with suppress(OSError):
                caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            caller.close()
            os.close(ended)
        if listener not in readable:
            continue
        caller, _ = listener.accept()
        head, streams, _, _ = socket.recv_fds(caller, _LENGTH_BYTES, 2)
        payload = caller.makefile("rb", buffering=0)
        text = b""
        while len(text) < int.from_bytes(head):
            text += payload.read(int.from_bytes(head) - len(text)) or b""
        pid = os.fork()
        if pid == 0:
            for other in [listener, caller, *(each for _, each in callers.values())]:
                other.close()
            for descriptor in callers:
                os.close(descriptor)
            payload.close()
            for target, stream in zip((1, 2), streams, strict=True):
                os.dup2(stream, target)
                os.close(stream)
            return dict(json.loads(text))
        payload.close()
        for stream in streams:
            os.close(stream)
        caller.sendall(f"{pid}\n".encode())
        callers[os.pidfd_open(pid)] = (pid, caller)


def _import_all() -> None:
    engine = importlib.import_module("pypelineetl")
    modules = pkgutil.walk_packages(engine.__path__, "pypelineetl.")
    for name in (*(module.name for module in modules), *_LIBRARIES):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def become(request: Request) -> None:
    """Run in this process what `python ARGUMENTS` would run."""
    # Like the server itself, the program ends with the tests if they are killed.
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    # The streams of the server are of another kind: they may be seekable, and a pipe is not.
    sys.stdout = _stream(1, sys.stdout, buffering=-1)
    sys.stderr = _stream(2, sys.stderr, buffering=1)
    first, *rest = request["arguments"]
    # Python puts the program's own folder first in sys.path. Here it is still that of this file.
    del sys.path[0]
    if first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is what -c does
    elif first == "-m":
        sys.path.insert(0, request["folder"])
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _stream(descriptor: int, like: TextIO, buffering: int) -> TextIO:
    return os.fdopen(descriptor, "w", buffering, like.encoding, like.errors, closefd=False)


def main(address: str) -> NoReturn:
    """Serve. In a forked process, run the program and exit as Python exits.

    DuckDB and pyarrow start threads when they are imported. A forked process does not have these
    threads, so the C++ code of the libraries must not try to end them. `os._exit` skips that.
    """
    request = serve(address)
    status: Any = 0
    try:
        become(request)
    except SystemExit as end:
        status = end.code
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            # Python ends by SIGINT itself after a KeyboardInterrupt, so that its parent sees the
            # signal.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        status = 1
    if not isinstance(status, int | None):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - what the interpreter calls
    atexit._run_exitfuncs()  # noqa: SLF001 - as above
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1])
