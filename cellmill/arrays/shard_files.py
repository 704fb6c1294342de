"""The files of a sharded Zarr array: which were written, with their size and checksum.

To Zarr a file that is missing stands for zeros. To the tasks of a slide it is a fault: a disk that
lost power, a program that tidies up, a bucket's rules or a slip may have taken it. So each file is
read back once it is written, and a small record of it is kept beside the array, in `.shards`. A
reader compares the files with their records before it begins; work that is taken up again counts as
done only where they agree.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellmill.arrays.checksums import crc32
from cellmill.arrays.store import key_values, location, refused
from cellmill.errors import BadInput

_RECORDS = ".shards"
#: Files that are asked for at once, and bytes that are read at once.
_AT_ONCE, _SPAN = 256, 1 << 20

Place = tuple[int, ...]
"""A shard's place in the grid of shards, along the axes as they are stored."""


@dataclass(frozen=True)
class _Record:
    """What is known of a file.

    Attributes:
        size: bytes.
        crc32: of all of them.
        generation: what the store calls this version of the file. While it is the same, so is the
            file; where it is another (a copy of the store), size and checksum decide.
        driver: of the store, which alone understands what it calls a version.
    """

    size: int
    crc32: int
    generation: bytes
    driver: str

    def to_bytes(self) -> bytes:
        about = {
            "size": self.size,
            "crc32": self.crc32,
            "generation": self.generation.hex(),
            "driver": self.driver,
        }
        return json.dumps(about).encode()

    @classmethod
    def of(cls, text: bytes) -> _Record | None:
        """Read a record; None if it is damaged."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            about = json.loads(text)
            generation = bytes.fromhex(about["generation"])
            driver = str(about.get("driver", ""))
            return cls(int(about["size"]), int(about["crc32"]), generation, driver)
        return None


class ShardFiles:
    """The files of one array and their records; safe from several threads.

    Args:
        uri: of the array.
        shape: of the array, along its axes as stored.
        sides: of a shard, likewise.
    """

    def __init__(self, uri: str, shape: Sequence[int], sides: Sequence[int]) -> None:
        self.uri, self.sides = uri, tuple(int(side) for side in sides)
        self.counts = tuple(-(-int(n) // side) for n, side in zip(shape, self.sides, strict=True))
        self._store = key_values(uri)
        where = location(uri)
        self._driver = str(where["driver"])
        self._folder = Path(where["path"]) if where["driver"] == "file" else None

    def record(self, places: Iterable[Place]) -> None:
        """Take down what was just written.

        Raises:
            BadInput: a file is gone again, or the store is out of reach.
        """
        with self._reachable():
            for some in _groups(places):
                found = [(place, self._measured(place)) for place in some]
                writing = []
                for place, record in found:
                    if record is None:
                        raise BadInput(
                            f"array '{self.uri}'",
                            expected=f"shard {_key(place)}, which was just written",
                            found="nothing there",
                        )
                    writing.append(self._store.write(_record_key(place), record.to_bytes()))
                for each in writing:
                    each.result()

    def intact(self, places: Iterable[Place]) -> bool:
        """Whether all of these shards are there as they were written."""
        return next(self._faults(places), None) is None

    def remove_damaged(self, places: Iterable[Place]) -> bool:
        """Remove those of some shards that are not there as they were written.

        Returns:
            Whether there was one.
        """
        damaged = [place for place, _ in self._faults(places)]
        with self._reachable():
            for place in damaged:
                self._store.write(_key(place), None).result()
        return bool(damaged)

    def check_whole(self) -> None:
        """Refuse an array of which a shard is not there as it was written.

        Raises:
            BadInput: the line names the first such shard, and how many there are.
        """
        every = _product([range(count) for count in self.counts])
        faults = [f"shard {_key(place)} {fault}" for place, fault in self._faults(every)]
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise BadInput(
                f"array '{self.uri}'",
                expected=f"all {math.prod(self.counts)} shards as they were written "
                "(a rerun makes them again)",
                found=f"{faults[0]}{more}",
            )

    def _faults(self, places: Iterable[Place]) -> Iterator[tuple[Place, str]]:
        with self._reachable():
            for some in _groups(places):
                reading = [self._store.read(_record_key(place)) for place in some]
                records = [_Record.of(each.result().value) for each in reading]
                # Of a file that is still the recorded version no byte is read.
                asking = [self._look(p, r) for p, r in zip(some, records, strict=True)]
                for place, record, ask in zip(some, records, asking, strict=True):
                    fault = self._fault(place, record, ask)
                    if fault:
                        yield place, fault

    def _look(self, place: Place, record: _Record | None) -> Any:
        known = record.generation if record and record.driver == self._driver else None
        return self._store.read(_key(place), byte_range=slice(0, 0), if_not_equal=known)

    def _fault(self, place: Place, record: _Record | None, ask: Any) -> str:
        state = ask.result().state
        if state == "missing":
            return "missing" if record else "never written"
        if record is None:
            return "without a record of what was written"
        if state == "unspecified":
            return ""
        found = self._measured(place)
        if found is None:
            return "missing"
        if found.size != record.size:
            return f"of {found.size} bytes, written with {record.size}"
        return "" if found.crc32 == record.crc32 else "altered since it was written"

    def _measured(self, place: Place) -> _Record | None:
        """Size, checksum and version of a file; None if there is none."""
        if self._folder is None:
            found = self._store.read(_key(place)).result()
            if found.state != "value":
                return None
            checksum = crc32(found.value)
            return _Record(len(found.value), checksum, found.stamp.generation, self._driver)
        # Span by span: a file may be as large as a budget bears.
        stamp = self._store.read(_key(place), byte_range=slice(0, 0)).result()
        if stamp.state != "value":
            return None
        size = checksum = 0
        span = memoryview(bytearray(_SPAN))
        try:
            with (self._folder / _key(place)).open("rb", buffering=0) as file:
                while got := file.readinto(span):
                    size, checksum = size + got, crc32(span[:got], checksum)
        except FileNotFoundError:
            return None
        return _Record(size, checksum, stamp.stamp.generation, self._driver)

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise refused(self.uri, error) from error


def places_in(window: Sequence[slice], sides: Sequence[int]) -> Iterator[Place]:
    """The shards that a window reaches.

    Args:
        window: slices with a start and an end, along the axes as stored.
        sides: of a shard.
    """
    spans = [
        range(part.start // side, -(-part.stop // side)) if part.start < part.stop else range(0)
        for part, side in zip(window, sides, strict=True)
    ]
    return _product(spans)


def _product(spans: Sequence[range]) -> Iterator[Place]:
    return itertools.product(*spans)


def _groups(places: Iterable[Place]) -> Iterator[list[Place]]:
    left = iter(places)
    while some := [*itertools.islice(left, _AT_ONCE)]:
        yield some


def _key(place: Place) -> str:
    return "/".join(["c", *map(str, place)])


def _record_key(place: Place) -> str:
    return f"{_RECORDS}/{'.'.join(map(str, place))}"
