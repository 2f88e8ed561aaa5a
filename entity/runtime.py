"""The SDK's core in one process of ours: its threads, its log, its metrics. Made after the fork, once.

Connects to nothing.
"""

import logging
import os
from datetime import timedelta

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

_THREADS = "TOKIO_WORKER_THREADS"
_THREADS_AT_MOST = 2
"""The core only does I/O. Its default, a thread for each CPU, wastes memory in a fleet of processes."""

_WORKER_HEARTBEAT_INTERVAL = timedelta(seconds=2)


def entity_runtime(metrics: MetricBuffer, core_logger: str) -> Runtime:
    """A runtime for a Worker: metrics to a buffer, the core's lines to a logger, Worker heartbeats on."""
    forwarding = LogForwardingConfig(logging.getLogger(core_logger), append_target_to_name=False)
    return _make(
        TelemetryConfig(
            logging=LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding),
            metrics=metrics,
            # The same on every series.
            attach_service_name=False,
        ),
        _WORKER_HEARTBEAT_INTERVAL,
    )


def client_runtime() -> Runtime:
    """A runtime for a client alone, which says nothing by itself."""
    return _make(TelemetryConfig(logging=None), None)


def _make(telemetry: TelemetryConfig, heartbeat: timedelta | None) -> Runtime:
    chosen = os.environ.get(_THREADS)
    if chosen is None:
        os.environ[_THREADS] = str(min(_THREADS_AT_MOST, os.cpu_count() or 1))
    try:
        return Runtime(telemetry=telemetry, worker_heartbeat_interval=heartbeat)
    finally:
        # Not for the processes that the program starts.
        if chosen is None:
            del os.environ[_THREADS]
