"""Coverage-guided fuzzing of the engine header and the sidecar. Not a test: it runs until it is ended, or for N inputs.

pip install atheris; python -m tests.fuzz.engine_atheris -runs=100000, from the root of the project.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from perception.backends.tensorrt.engine_file import open_engine
    from perception.backends.tensorrt.sidecar import sidecar_path
    from perception.core.errors import BackendError


def main() -> None:
    """Feeds each input as an engine, then its halves as engine and sidecar. A crash is any other exception."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "yolo11n.engine"

        def one_input(data: bytes) -> None:
            half = len(data) // 2
            for content, beside in ((data, b""), (data[:half], data[half:])):
                engine.write_bytes(content)
                place = sidecar_path(engine)
                place.unlink(missing_ok=True)
                if beside:
                    place.write_bytes(beside)
                try:
                    open_engine(engine)
                except BackendError as fault:
                    if "\n" in str(fault):
                        raise ValueError("more than one line") from fault

        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
