"""The synthetic drive: road scenes from a seed, with the exact boxes of their vehicles."""

from perception.frame import Truth

from .render import Drive
from .settings import CLASS_NAMES, DriveSettings
from .stamp import read_stamp

__all__ = ["CLASS_NAMES", "Drive", "DriveSettings", "Truth", "read_stamp"]
