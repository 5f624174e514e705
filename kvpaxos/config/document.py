"""Settings bytes to one table of plain values: JSON or TOML, told apart by the first character."""

from __future__ import annotations

import codecs
import json
import tomllib
from typing import Final, NoReturn

from kvpaxos.errors import ConfigError

SETTINGS_BYTES_MAX: Final = 1024 * 1024
"""The largest settings file that is read."""


def table(source: str, data: bytes) -> dict[str, object]:
    """Return the table that the settings ``data`` hold; ``source`` names them in errors.

    :raises ConfigError: if they are no text, no table, or have a syntax error.
    """
    text = _text(source, data)
    return _json(source, text) if text.lstrip().startswith("{") else _toml(source, text)


def _text(source: str, data: bytes) -> str:
    if len(data) > SETTINGS_BYTES_MAX:
        raise ConfigError(
            f"{source}: settings of {len(data)} bytes are no settings; the most that is read is"
            f" {SETTINGS_BYTES_MAX} bytes."
        )
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(
            f"{source}: it begins with a byte order mark; save it as plain UTF-8, without BOM."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{source}: line {line} is not UTF-8 (byte {error.start}); save the file as UTF-8."
        ) from None
    if not text.strip():
        raise ConfigError(f"{source}: it is empty; name the nodes and their addresses in it.")
    return text


def _json(source: str, text: str) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ConfigError(f'{source}: "{twice}" stands there twice; keep one of them.')
        return mapping

    def refused(constant: str) -> NoReturn:
        raise ConfigError(f"{source}: {constant} is no value of a setting; write a plain number.")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source}: line {error.lineno}, column {error.colno}: {_lowered(error.msg)};"
            " mend the JSON there."
        ) from None
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError:
        raise _endless_number(source) from None
    assert isinstance(value, dict), "text that starts with a brace is an object or an error"
    return value


def _toml(source: str, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{source}: {_lowered(str(error))}; mend the TOML there (JSON begins with a brace)."
        ) from None
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError:
        raise _endless_number(source) from None


def _too_deep(source: str) -> ConfigError:
    return ConfigError(f"{source}: its tables are nested too deep; settings need three levels.")


def _endless_number(source: str) -> ConfigError:
    return ConfigError(f"{source}: it holds a number with thousands of digits; shorten it.")


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
