"""Keeps TensorRT's timings of its kernels in a file, so that the next build on this device need not measure them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perception.system.own_files import read_mine
from perception.system.plain_file import reason_of
from perception.system.trusted_file import write_whole
from perception.workshop.progress import Tell, say

if TYPE_CHECKING:
    import tensorrt as trt


def load(config: trt.IBuilderConfig, path: Path, tell: Tell) -> trt.ITimingCache | None:
    """Give the builder the cache in the file; an empty one where there is none, or it is of another device."""
    try:
        stored = read_mine(path)
    except FileNotFoundError:
        stored = b""
    except OSError as error:
        say(tell, f"{path} is not used: {reason_of(error)}")
        stored = b""
    for content in (stored, b""):
        cache: trt.ITimingCache | None = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
        say(tell, f"{path} is of another device or another TensorRT: it is written anew")
    return None


def save(config: trt.IBuilderConfig, path: Path, tell: Tell) -> None:
    """Write the builder's cache, merged with what another build may have written meanwhile."""
    cache: trt.ITimingCache | None = config.get_timing_cache()
    if cache is None:
        return
    try:
        if path.exists():
            meanwhile: trt.ITimingCache | None = config.create_timing_cache(read_mine(path))
            if meanwhile is not None:
                cache.combine(meanwhile, ignore_mismatch=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, bytes(cache.serialize()))
    except OSError as error:  # the next build takes longer, and no more
        say(tell, f"{path} cannot be written: {reason_of(error)}")
