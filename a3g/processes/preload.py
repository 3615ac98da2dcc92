"""What the fork server imports before anything is forked from it; only for that, see `a3g.processes.fork_server`."""

from __future__ import annotations

from a3g.processes.parent_death import end_with_parent, let_children_end_with_this_process

end_with_parent()
let_children_end_with_this_process()

import gc

import setproctitle

import a3g.algorithms.a3c
import a3g.algorithms.ppo
import a3g.processes.tester
import a3g.processes.worker  # noqa: F401
from a3g.processes.fork_server import TITLE

gc.collect()
gc.freeze()  # or the collector would write into, and so copy, every page that the processes share
setproctitle.setproctitle(TITLE)
