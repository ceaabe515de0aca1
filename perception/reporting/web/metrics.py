"""The metrics for Prometheus, made at the moment of the scrape, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from perception.reporting.web.overview import Overview
from perception.reporting.web.statistics import PrometheusHistogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """A collector of all metrics."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the answer to a scrape, in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the metrics depend on the board and on the backend."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has a value."""
        self._overview.settle()
        families: tuple[Callable[[], Iterable[Metric]], ...] = (
            self._counters,
            self._histograms,
            self._flow,
            self._source,
            self._board,
            self._backend,
        )
        for family in families:
            yield from family()

    def _counters(self) -> Iterator[Metric]:
        statistics = self._overview.statistics
        yield CounterMetricFamily("pilot_frames", "Frames that were processed.", statistics.frames)
        yield CounterMetricFamily("pilot_frames_dropped", "Frames captured but not processed.", statistics.dropped)
        vehicles = CounterMetricFamily(
            "pilot_vehicles", "Vehicles found, once for each frame that shows them.", labels=["class"]
        )
        for name, count in sorted(statistics.vehicles.items()):
            vehicles.add_metric([name], count)
        yield vehicles

    def _histograms(self) -> Iterator[Metric]:
        statistics = self._overview.statistics
        total = HistogramMetricFamily(
            "pilot_frame_duration_seconds", "From a frame in host memory to its vehicles in Python."
        )
        _add(total, [], statistics.total)
        yield total
        stages = HistogramMetricFamily(
            "pilot_stage_duration_seconds", "The stages of a frame, where the backend tells them.", labels=["stage"]
        )
        for name, histogram in statistics.stages.items():
            if any(histogram.counts):
                _add(stages, [name], histogram)
        yield stages

    def _flow(self) -> Iterator[Metric]:
        overview, statistics = self._overview, self._overview.statistics
        rate_hz = statistics.history[-1].frames if statistics.history else None
        yield _gauge("pilot_frame_rate_hertz", "Frames processed in the last whole second.", rate_hz)
        latest = statistics.latest
        yield _gauge(
            "pilot_frame_age_seconds",
            "From the capture of the last frame to its vehicles in Python.",
            latest and latest.result.age_ms / 1000,
        )
        yield _gauge(
            "pilot_frame_since_seconds", "Since the vehicles of the last frame were known.", overview.frame_age_s()
        )
        yield _gauge("pilot_live", "1 while the loop turns.", float(overview.live()[0]))
        yield _gauge("pilot_ready", "1 while frames flow.", float(overview.ready()[0]))

    def _source(self) -> Iterator[Metric]:
        if status := self._overview.status:
            state = status.source_state
            yield CounterMetricFamily(
                "pilot_source_reconnects", "How often pictures came again after a loss.", state.reconnects
            )
            yield _gauge("pilot_source_up", "1 while pictures come.", float(state.state == "live"))

    def _board(self) -> Iterator[Metric]:
        board = self._overview.sink.board
        if board is None:
            return
        zones = GaugeMetricFamily("pilot_board_temperature_celsius", "By thermal zone.", labels=["zone"])
        for zone, celsius in board.temperatures_c.items():
            zones.add_metric([zone], celsius)
        yield zones
        yield _gauge("pilot_board_power_watts", "Of the whole board, on a desk of the GPU card.", board.power_w)
        yield _gauge("pilot_board_gpu_load_ratio", "Load of the GPU, 0 to 1.", board.gpu_load)
        yield _gauge("pilot_board_cpu_load_ratio", "Load of the processor, 0 to 1.", board.cpu_load)
        memory = board.memory_available_mib
        yield _gauge(
            "pilot_board_memory_available_bytes", "Memory that is left.", None if memory is None else memory * 2**20
        )
        yield _gauge("pilot_board_throttling", "1 while something slows the board down.", float(bool(board.throttling)))

    def _backend(self) -> Iterator[Metric]:
        if status := self._overview.status:
            info = status.backend
            family = GaugeMetricFamily("pilot_backend_info", "What serves.", labels=["backend", "precision", "input"])
            family.add_metric([info.name, info.precision, f"{info.input_hw[1]}x{info.input_hw[0]}"], 1)
            yield family


def _gauge(name: str, help_text: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge; without a sample where there is no value."""
    return GaugeMetricFamily(name, help_text, value=value)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: PrometheusHistogram) -> None:
    family.add_metric(labels, histogram.cumulative(), histogram.sum_s)
