"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TILES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter(
            "cellmill_requests",
            "Requests by protocol and status",
            ["protocol", "status"],
            registry=own,
        )
        self.seconds = Histogram(
            "cellmill_request_seconds",
            "From a request's head to its answer, waiting included",
            ["protocol"],
            buckets=_SECONDS,
            registry=own,
        )
        self.bytes = Counter(
            "cellmill_bytes", "Bytes of requests and of answers", ["direction"], registry=own
        )
        self.waiting = Gauge(
            "cellmill_images_waiting", "Images that are worked on or wait for it", registry=own
        )
        self.tiles = Histogram(
            "cellmill_network_tiles",
            "Tiles in a call of the network, of one image or of several",
            buckets=_TILES,
            registry=own,
        )
        self.model = Info("cellmill_model", "What is served", registry=own)
        self.ready = Gauge("cellmill_ready", "Whether the network is loaded", registry=own)

    def page(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self._registry)
