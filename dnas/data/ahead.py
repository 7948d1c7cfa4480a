"""An iterator run in a thread of its own, a few items ahead of who uses it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """The last thing in the queue: the error that ended the iterator, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterate over ``source`` in a thread, keeping up to ``depth`` items ready.

    Order and errors are those of ``source``. Worth it when the work on both sides is done in
    libraries that let go of the interpreter lock. Use it as a context manager: leaving the block
    ends the thread, wherever it is.

    Args:
        source: Used by the thread only.
        depth: Items kept ready, which bounds the memory.
    """

    def __init__(self, source: Iterator[T], depth: int = 2) -> None:
        self._source = source
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dnas-ahead", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)  # it may be waiting for room
            except queue.Empty:
                continue
        self._thread.join()

    def _items(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except BaseException as caught:
            error = caught
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()  # here, not when the garbage is collected: it may hold files and threads
        self._queue.put(_End(error))
