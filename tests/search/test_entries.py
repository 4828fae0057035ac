import struct
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from trichord.search.entries import checksums, require_intact, rows_of
from trichord.types import UserError


def words(numbers, kind):
    packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
    return sum(struct.unpack(f"<{len(packed) // 4}I", packed))


def test_a_checksum_is_of_the_bits_of_vectors_and_of_where_they_belong(table, entries):
    file = entries("wörter", 2)
    seen, heard = np.array([0.1, -2.0, 3e-9], np.float32), np.array([7.0, -0.0], np.float32)
    first, second = file.entries
    changed = replace(first, vision=seen, audio=heard), replace(second, vision=None)
    rows = rows_of([replace(file, entries=changed)], table.schema)
    name = crc32("wörter".encode())
    sight, sound = words(seen, "f"), words(heard, "f")
    assert rows["checksum"].to_pylist() == [
        signed(sight, sound + name + words([0.0], "d") + 3 * words([1.0], "d")),
        signed(0, words([1.0, 1.0], "f") + name + words([1.0], "d") + 3 * words([2.0], "d")),
    ]


def signed(low, high):
    return struct.unpack("<q", struct.pack("<II", low % 2**32, high % 2**32))[0]


def test_any_bit_that_is_turned_over_changes_the_checksum(table, entries):
    file = entries("a", 1, value=0.3)
    [entry] = file.entries
    known = checksums(rows_of([file], table.schema))
    for side, dim in (("vision", 3), ("audio", 2)):
        for bit in range(32 * dim):
            vector = getattr(entry, side).copy()
            vector.view(np.uint32)[bit // 32] ^= np.uint32(1 << bit % 32)
            changed = replace(file, entries=(replace(entry, **{side: vector}),))
            assert checksums(rows_of([changed], table.schema)) != known
    for change in ({"file": "b"}, {"start": 0.5}, {"end": 1.5}):
        moved = replace(entry, moment=replace(entry.moment, **change))
        version = replace(file.version, file=moved.moment.file)
        changed = replace(file, version=version, entries=(moved,))
        assert checksums(rows_of([changed], table.schema)) != known


def test_rows_are_refused_by_the_first_file_that_is_not_as_it_was(table, entries):
    rows = rows_of([entries("a", 1), entries("b", 2), entries("c", 1)], table.schema)
    assert require_intact(rows) is rows
    later = rows_of([entries("a", 1), entries("b", 2, value=2.0), entries("c", 1)], table.schema)
    place = rows.schema.get_field_index("checksum")
    mixed = later.set_column(place, rows.schema.field(place), rows["checksum"])
    with pytest.raises(UserError, match=r"^b: "):
        require_intact(mixed)
