"""Reads a settings file: YAML, one mapping, no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from perception.errors import SettingsError

# A settings file is a page; anything far larger was named by mistake.
MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a name", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is set twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`; an empty file is an empty mapping.

    Raises SettingsError, naming the line, for a file that cannot be read or is no such mapping.
    """
    text = _read_text(path)
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise SettingsError(f"{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{path} holds {type(value).__name__}, not settings", "Write `key: value` lines.")
    return value


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise SettingsError(f"{path} is a folder, not a settings file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError(f"{path} is larger than {MAX_BYTES} bytes and no settings file")
        return data.decode("utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"The settings file {path} does not exist",
            "Give its path with --config (config/pilot.yaml is the default).",
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
