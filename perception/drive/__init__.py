"""The synthetic drive: road scenes from a seed, with the exact boxes of their vehicles."""

from perception.core.frame import Truth
from perception.drive.render import Drive
from perception.drive.settings import CLASS_NAMES, DriveSettings
from perception.drive.stamp import read_stamp

__all__ = ["CLASS_NAMES", "Drive", "DriveSettings", "Truth", "read_stamp"]
