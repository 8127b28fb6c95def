"""How the platform behaves: its documented numbers, and guesses where it has told none."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1000 * 1000


@dataclass
class Policy:
    """Set before or while the endpoint runs; times in seconds.

    workers_min, workers_max, idle_timeout_s, execution_timeout_s, flash_boot, queue_delay_s: the
        endpoint's own configuration. The last: how long work waits before a worker is added.
    ttl_s: from submission, queue and run included. retention_s: of results.
    cold_start_s: what passes before a new worker's process starts (its image is brought).
    throttled: whether there is no free GPU: no worker is added.
    """

    workers_max: int = 1
    workers_min: int = 0
    idle_timeout_s: float = 5.0
    execution_timeout_s: float = 600.0
    queue_delay_s: float = 0.0
    flash_boot: bool = True
    ttl_s: float = 24 * 3600.0
    retention_s: float = 30 * 60.0
    sync_retention_s: float = 60.0
    cold_start_s: float = 0.0
    throttled: bool = False
    max_run_bytes: int = 10 * MB
    max_runsync_bytes: int = 20 * MB
    max_output_bytes: int = 10 * MB
    max_chunk_bytes: int = MB

    # Guesses.
    hold_s: float = 1.0  # of a worker's poll
    stuck_s: float = 4.0  # work that waits so long gets another worker whatever the others do
    missed_pings: int = 3
    requeues: int = 1  # of a job whose worker fell silent, until it fails
    grace_s: float = 10.0  # between SIGTERM and SIGKILL
    restart_pause_s: float = 1.0  # after a worker that ended before it took work
    webhook_tries: int = 3
    webhook_pause_s: float = 10.0


@dataclass(frozen=True)
class Rate:
    """At most `count` calls in `window_s`, and `concurrent` at the same time."""

    count: int
    window_s: float
    concurrent: int


RATES = {
    "run": Rate(1000, 10, 200),
    "runsync": Rate(2000, 10, 400),
    "status": Rate(2000, 10, 400),
    "stream": Rate(2000, 10, 400),
    "cancel": Rate(100, 10, 20),
    "purge-queue": Rate(2, 10, 2),
}
