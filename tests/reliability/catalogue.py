"""All faults, in the order of the table."""

from __future__ import annotations

from . import death, endurance, recycle, reload, requests

FAULTS = [
    reload.reload_broken_code,
    reload.reload_broken_config,
    reload.reload_hung_import,
    reload.reload_slow_import,
    reload.reload_preload,
    recycle.recycle_broken_code,
    recycle.recycle_slow_import,
    requests.stuck_request_threads,
    requests.stuck_request_own_thread,
    requests.all_threads_stuck,
    requests.stop_with_a_queue_1,
    requests.stop_with_a_queue_4,
    requests.half_sent_workers,
    requests.half_sent_threads,
    death.kill_one,
    death.kill_all,
    death.kill_master,
    reload.upgrade_broken,
    endurance.many_reloads,
]
