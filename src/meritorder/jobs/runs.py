"""The runs of a job beside its answers: one at a time, each with a record of what it has cost so far."""

import contextlib
import posixpath
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pyarrow import fs

from meritorder import documents
from meritorder.errors import ConfigError
from meritorder.jobs.locks import FileLock, Lock, ObjectLock
from meritorder.jobs.sources import open_path
from meritorder.records.job import JOB_SCHEMA, JobRun
from meritorder.records.receipts import Receipt

_FOLDER: Final = "_runs"
_LOCK: Final = "lock"
_RECEIPT: Final = "receipt.json"
_SUFFIX: Final = ".json"
_HEARTBEAT_S: Final = 5.0


class Runs:
    """The records of a job's runs, in a folder inside that of its answers.

    Args:
        out: Path or URL of the folder of the answers.
    """

    def __init__(self, out: str) -> None:
        self._out = out
        self._filesystem, inside = open_path(out)
        self._inside = posixpath.join(inside, _FOLDER)
        self._filesystem.create_dir(self._inside)
        self._name = f"{time.time_ns():020d}"
        self._state: Callable[[], JobRun] | None = None
        self._beating = threading.Lock()
        self._is_over = threading.Event()
        self._fault: Exception | None = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of the job, and renew it every few seconds.

        Raises:
            ConfigError: Another run holds it.
        """
        is_local = isinstance(self._filesystem, fs.LocalFileSystem)
        self._lock: Lock = (
            FileLock(posixpath.join(self._inside, _LOCK)) if is_local else ObjectLock(self._out, f"{_FOLDER}/{_LOCK}")
        )
        if not self._lock.acquire():
            fix = "wait until it ends, or give the answers another folder with --out"
            raise ConfigError("another run answers into this folder", where=self._out, fix=fix)
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
            self._lock.release()

    def read(self) -> Sequence[JobRun]:
        """Return the records of all runs, the oldest first."""
        listed = self._filesystem.get_file_info(fs.FileSelector(self._inside))
        records = []
        for path in sorted(file.path for file in listed if file.path.endswith(_SUFFIX)):
            with self._filesystem.open_input_stream(path) as stream:
                records.append(_decode(stream.read(), where=path))
        return records

    def write(self, run: JobRun) -> None:
        """Write the record of a run, in place of what it was before."""
        self._replace(posixpath.join(self._inside, f"{self._name}{_SUFFIX}"), documents.encode(run))

    def write_receipt(self, receipt: Receipt) -> None:
        """Write the receipt of the job beside its answers."""
        self._replace(posixpath.join(posixpath.dirname(self._inside), _RECEIPT), documents.encode(receipt))

    def _replace(self, path: str, content: bytes) -> None:
        """Replace a file, which readers see whole; an object store shows objects only so."""
        part = f"{path}.part"
        is_local = isinstance(self._filesystem, fs.LocalFileSystem)
        with self._filesystem.open_output_stream(part if is_local else path) as stream:
            stream.write(content)
        if is_local:
            self._filesystem.move(part, path)

    @contextlib.contextmanager
    def recorded(self, state: Callable[[], JobRun]) -> Iterator[None]:
        """Write the state of a run every few seconds, so that a run that is killed has its cost on record."""
        self.write(state())
        self._state = state
        try:
            yield
        finally:
            with self._beating:
                self._state = None

    def check(self) -> None:
        """Check that the run still holds the lock and can be recorded.

        Raises:
            ConfigError: It does not, or cannot.
        """
        if self._fault is not None:
            raise ConfigError(f"the run cannot be recorded: {self._fault}", where=self._out, fix="run it again")

    def _beat(self) -> None:
        while not self._is_over.wait(_HEARTBEAT_S):
            try:
                self._lock.renew()
                with self._beating:
                    if self._state is not None:
                        self.write(self._state())
            except (OSError, ConfigError) as error:
                self._fault = error
                return


def _decode(text: bytes, where: str) -> JobRun:
    return documents.decode(text, JobRun, schema=JOB_SCHEMA, what="a run", command="meritorder run", where=where)
