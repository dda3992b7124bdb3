from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.app.listening import listen, listen_on_file


def test_taken_port_is_one_line() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_socket_file_is_private(tmp_path: Path) -> None:
    file = tmp_path / "socket"
    listen_on_file(file).close()
    with listen_on_file(file):  # in the place of what a killed process has left
        assert file.stat().st_mode & 0o077 == 0


def test_long_path_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        listen_on_file(tmp_path / ("x" * 120))
