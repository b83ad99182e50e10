"""Settings of the process and its interpreter: open files, thread switching, garbage collection."""

from __future__ import annotations

import gc
import resource
import sys

_SWITCH_SECONDS = 0.0005
"""Python's switch interval, in seconds. It matters only while two threads have work."""


def raise_fd_limit(wanted: int) -> int:
    """Let this process have ``wanted`` files and sockets open, as far as the system allows; return how many it may.

    Shells start programs with a limit of 1024, which a thousand clients exhaust, and with it the probes' connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


def set_switch_interval() -> None:
    """Have other threads give the interpreter back within half a millisecond when the loop wants it.

    Python lets them keep it for five. As writing the metrics takes milliseconds, a scrape would make each event that
    comes meanwhile wait for its end, or for those five. A single call into C may still take longer.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def freeze_gc() -> None:
    """Keep the cyclic collector off what lives for ever, and let it look less often at what does not.

    A request leaves no cycles behind. At the default threshold of 700 objects the collector would walk thousands of
    times a minute, and its longest walks are tens of milliseconds in which no token is relayed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
