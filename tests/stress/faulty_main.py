"""`main.py` with gradients that can be spoilt from outside, for the soak: `python -m tests.stress.faulty_main FOLDER …`.

When a file `spoil` turns up in FOLDER, one worker takes it away and its next gradients are no numbers. The launcher
writes where the run stands into `status.json` there. The program itself has no hooks for any of this.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from a3g.processes.parent_death import end_with_parent

if __name__ == "__mp_main__":
    end_with_parent()

from a3g.networks.flat_parameters import FlatParameters
from a3g.reporting.display import RunDisplay

FOLDER = Path(sys.argv[1])
_clip, _update = FlatParameters.clip_gradients, RunDisplay.update


def clip_or_spoil(self: FlatParameters, max_norm: float) -> Any:
    """As `FlatParameters.clip_gradients`, after an accident."""
    try:
        (FOLDER / "spoil").unlink()
        self.gradients.fill_(float("nan"))
    except FileNotFoundError:
        pass
    return _clip(self, max_norm)


def update_and_tell(self: RunDisplay, status: Any) -> None:
    """As `RunDisplay.update`, and for the soak."""
    names = ("agent_steps", "updates", "episodes", "skipped_updates", "restarts", "restored", "tests")
    told = {name: getattr(status, name) for name in names}
    told |= {"launcher": os.getpid(), "time": time.time(), "trouble": status.saving.trouble, "pause_ms": status.saving.pause_ms}
    temporary = FOLDER / "status.tmp"
    temporary.write_text(json.dumps(told))
    temporary.replace(FOLDER / "status.json")
    _update(self, status)


FlatParameters.clip_gradients = clip_or_spoil  # type: ignore[method-assign]
RunDisplay.update = update_and_tell  # type: ignore[method-assign]

if __name__ == "__main__":
    from main import main

    sys.exit(main(sys.argv[2:]))
