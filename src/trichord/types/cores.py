"""How many cores this process may use."""

import os


def cores() -> int:
    """Cores that the system gives this process."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def compute_threads() -> int:
    """Threads that may compute at once: OMP_NUM_THREADS, as in torch, or one per core."""
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, int(setting)) if setting.isdecimal() else cores()
