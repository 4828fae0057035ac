import pytest

from trichord.media import file_signature

MIB = 1024 * 1024


def test_the_signature_sees_size_head_and_tail_only(tmp_path):
    content = bytearray(3 * MIB)
    paths = {}
    for name, at in (("same", None), ("head", 0), ("middle", 3 * MIB // 2), ("tail", 3 * MIB - 1)):
        changed = bytearray(content)
        if at is not None:
            changed[at] = 1
        paths[name] = tmp_path / name
        paths[name].write_bytes(changed)
    (tmp_path / "longer").write_bytes(content + b"\0")
    whole = file_signature(paths["same"])
    assert len(whole) == 32
    assert file_signature(str(paths["same"])) == file_signature(paths["middle"]) == whole
    others = {file_signature(tmp_path / name) for name in ("head", "tail", "longer")}
    assert len(others | {whole}) == 4


def test_an_absent_file_has_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_signature(tmp_path / "absent")
