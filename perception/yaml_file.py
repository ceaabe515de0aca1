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
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:bool":  # a key that reads `on` is a name, as in YAML 1.2
                key_node.tag = "tag:yaml.org,2002:str"
            if key_node.tag != "tag:yaml.org,2002:str":  # 1, <<, [a]: YAML takes each for something else
                written = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "given here"
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {written} is not a name", key_node.start_mark
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value} is set twice", key_node.start_mark
                )
            seen.add(key_node.value)
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
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise SettingsError(f"{where}: {_one_line(said)}") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets the built-in errors through where a value does not fit the tag written before it (`!!bool x`).
        raise SettingsError(f"{path} holds a value that YAML cannot read: {_one_line(str(error))}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else "one single value"
        raise SettingsError(f"{path} holds {found}, not settings", "Write `key: value` lines.")
    return value


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "..."


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
            "Give its path with --config. Where none is given, config/local.yaml is read, else config/pilot.yaml.",
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
