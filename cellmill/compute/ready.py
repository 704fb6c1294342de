"""Makes numba ready to load kernels: what it does once a process, before the first of them.

To be imported where many processes are to come of one. No kernel is compiled, loaded or run, and no
thread is started.
"""

from __future__ import annotations

from numba.core.registry import cpu_target

cpu_target.target_context.refresh()
