"""The API key of Hermes comes out of a private file and into no message."""

import os

import pytest

from liqctl.errors import SettingsError
from liqctl.oracle.hermes_key import read_api_key


def key_file(tmp_path, content=b"Key-123\n", mode=0o600):
    path = tmp_path / "hermes.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_one_word_of_a_private_file_is_the_key(tmp_path):
    assert read_api_key(key_file(tmp_path)) == "Key-123"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    path = key_file(tmp_path, mode=mode)

    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        read_api_key(path)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"SECRET SECRET", b"SECRET\nSECRET", b"SECR\xc3\x89T", b"S" * 5_000]
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, content):
    with pytest.raises(SettingsError, match="holds no key") as refusal:
        read_api_key(key_file(tmp_path, content))

    assert "SECR" not in str(refusal.value)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)

    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_api_key(tmp_path / "none")
    for path in (tmp_path, pipe):
        with pytest.raises(SettingsError, match="no regular file"):
            read_api_key(path)
