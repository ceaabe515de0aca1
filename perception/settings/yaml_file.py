"""Reads a file of settings, or of a data set: YAML of bounded size, one mapping, no key twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from perception.core.errors import SettingsError
from perception.system.plain_file import read_plain

# A settings file and the file of a data set have a page; a far larger one was named by mistake.
MAX_BYTES = 1 << 20
MAX_VALUES = 200_000
"""Largest number of values in a data set, each alias counted as what it stands for."""
_TEXT, _NUMBER, _SWITCH = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "bool"))


class _Loader(yaml.SafeLoader):
    """SafeLoader that rejects a key given twice, where YAML would silently take the last."""

    keys: tuple[str, ...] = (_TEXT,)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == _SWITCH:  # a key that reads `on` is a name, as in YAML 1.2
                key_node.tag = _TEXT
            if key_node.tag not in self.keys:  # 1, <<, [a]: YAML takes each for something else
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


class _NumberLoader(_Loader):
    """The same, with numbers allowed as keys, as for the classes of a data set."""

    keys = (_TEXT, _NUMBER)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file. noun: in words. numbers: allowed as keys. absent: the message where it is not there."""

    noun: str
    numbers: bool
    absent: str
    cure: str


SETTINGS = Kind(
    "settings file", False, "The settings file {} does not exist",
    "Give its path with --config. Where none is given, config/local.yaml is read, else config/pilot.yaml.",
)  # fmt: skip
DATA_SET = Kind("data set", True, "The data set {} does not exist", "Give the path of its .yaml file.")


def read_mapping(path: Path, kind: Kind = SETTINGS) -> dict[Any, Any]:
    """Return the mapping in the YAML file at `path`; an empty file is an empty mapping.

    Raises SettingsError, naming the line, for a file that cannot be read or is no such mapping.
    """
    text = _read_text(path, kind)
    try:
        value = yaml.load(text, _NumberLoader if kind.numbers else _Loader)  # noqa: S506 - both are SafeLoaders
    except yaml.MarkedYAMLError as error:
        raise SettingsError(_told(path, kind, error)) from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets the built-in errors through where a value does not fit the tag written before it (`!!bool x`).
        raise SettingsError(f"{path} holds a value that YAML cannot read: {_one_line(str(error))}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else "one single value"
        raise SettingsError(f"{path} holds {found}, not {_content(kind)}", "Write `key: value` lines.")
    if kind.numbers and not _is_small(value):
        raise SettingsError(
            f"{path} stands for more than {MAX_VALUES} values, by aliases of aliases", "Write them out, or fewer."
        )
    return value


def _told(path: Path, kind: Kind, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}" if mark else ""
    said = _one_line(", ".join(part for part in (error.context, error.problem) if part))
    if kind is SETTINGS:
        return f"{path}{line and f', {line}'}: {said}"
    return f"{path} cannot be read as YAML ({line and f'{line}: '}{said})"


def _content(kind: Kind) -> str:
    return "settings" if kind is SETTINGS else f"a {kind.noun}"


def _is_small(value: Any) -> bool:
    """Return True for at most MAX_VALUES values, an alias counted each time: it may even stand for itself."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if count + len(waiting) > MAX_VALUES:
            return False
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, (list, set)):
            waiting += one
    return True


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "..."


def _read_text(path: Path, kind: Kind) -> str:
    try:
        return read_plain(path, MAX_BYTES, SettingsError, kind.noun).decode("utf-8")
    except FileNotFoundError:
        raise SettingsError(kind.absent.format(path), kind.cure) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8") from None
