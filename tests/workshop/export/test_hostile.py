"""A real export by root, into a folder where the service's user has prepared its names."""

from __future__ import annotations

import pytest

from tests import strangers
from tests.workshop.export.conftest import Workshop

pytestmark = [strangers.needs_root, pytest.mark.needs("python3")]


def test_root_exports_into_nothing_of_the_services_user(workshop: Workshop) -> None:
    engines = strangers.shared_folder(workshop.place.folder)
    outside = workshop.folder / "outside"
    outside.mkdir(mode=0o755)
    strangers.folder(engines / ".work")
    strangers.link(engines / ".work-0", outside)
    before = strangers.state_of(outside), strangers.state_of(engines)
    said = workshop.run("--precision", "fp16", "--force", code=2)
    assert "/.work-0 cannot be used: it is a link" in " ".join(said.split())
    assert (strangers.state_of(outside), strangers.state_of(engines)) == before
