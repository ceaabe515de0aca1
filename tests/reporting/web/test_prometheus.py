"""/metrics as Prometheus itself sees them: Debian's promtool and prometheus, scraping a real pilot."""

from __future__ import annotations

import json
import math
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from perception.system.home import ROOT
from tests.needs import path_of
from tests.reporting.web.pilots import WebPilot, ask, until

DASHBOARD = ROOT / "config" / "grafana-dashboard.json"
QUANTILE = "histogram_quantile(0.99, sum by (le) (rate(pilot_frame_duration_seconds_bucket[10s])))"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def prometheus(pilot: WebPilot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Prometheus that scrapes the pilot each second."""
    program, folder, port = path_of("prometheus"), tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: pilot, static_configs: [{{targets: ['127.0.0.1:{pilot.port}']}}]}}]\n"
    )
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    yield port
    process.terminate()
    process.wait(30)


def query(port: int, text: str) -> list[dict[str, Any]]:
    """The series that answer a query; none while Prometheus starts."""
    try:
        answer = ask(port, f"/api/v1/query?query={quote(text)}")
    except ConnectionRefusedError:
        return []
    if answer.status == 503:
        return []
    found = json.loads(answer.body)
    assert found["status"] == "success", f"{text}: {found}"
    result = found["data"]["result"]
    assert isinstance(result, list)
    return result


@pytest.mark.needs("promtool")
def test_promtool_has_nothing_to_say(pilot: WebPilot) -> None:
    pilot.wait_for_frames()
    text = pilot.ask("/metrics").body
    assert b"pilot_frame_duration_seconds_bucket" in text
    done = subprocess.run([path_of("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_prometheus_answers_the_question_of_the_quantile(pilot: WebPilot, prometheus: int) -> None:
    def quantile_s() -> float:
        return next((float(series["value"][1]) for series in query(prometheus, QUANTILE)), math.nan)

    until(lambda: 0 < quantile_s() <= 0.2, "the quantile")
    up = query(prometheus, "up{job='pilot'}")
    assert [series["value"][1] for series in up] == ["1"]
    counted = query(prometheus, "pilot_frames_total")
    assert 0 < float(counted[0]["value"][1]) <= pilot.frames()
    assert query(prometheus, "pilot_backend_info")[0]["metric"]["backend"] == "onnxruntime"


def test_the_dashboard_asks_for_what_is_there(pilot: WebPilot, prometheus: int) -> None:
    until(lambda: bool(query(prometheus, "pilot_frames_total")), "a scrape")
    dashboard = json.loads(Path(DASHBOARD).read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 8
    described = {line.split()[2] for line in pilot.ask("/metrics").text.splitlines() if line.startswith("# TYPE")}
    for text in (template.replace("$instance", ".*").replace("$__rate_interval", "10s") for template in asked):
        query(prometheus, text)  # which fails where it is no PromQL
        if "board" not in text:  # this machine may tell nothing of its board
            assert any(name in text for name in described), text
