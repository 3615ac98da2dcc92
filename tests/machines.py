"""Other machines that share a folder with this one, as far as one machine can play them.

Each is a process with a mount and a host name of its own: the kernel's boot id reads differently there, and the folder is seen
through a FUSE mount (bindfs), so that the kernel's locks on it do not reach the others. That is how a folder on a network file
system looks. What it can't show is what a file server's and its clients' caches do.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def needs_machines() -> pytest.MarkDecorator:
    missing = [name for name in ("bindfs", "unshare", "mount") if shutil.which(name) is None]
    missing += [] if os.geteuid() == 0 else ["root's rights"]
    missing += [] if Path("/dev/fuse").exists() else ["/dev/fuse"]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def on_machine(name: str, folder: Path, python: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start `python <python>` on another machine. Kill the whole process group to have nothing left of that machine.

    Args:
        name: of the machine.
        folder: shared; it has the same path there.
        python: arguments of the interpreter.
        options: of `Popen`.
    """
    boot = folder.parent / f"boot-{name}"
    if not boot.exists():
        boot.write_text(f"{uuid.uuid4()}\n")
    shared = shlex.quote(str(folder))
    script = " && ".join(
        (
            f"hostname {name}",
            f"mount --bind {shlex.quote(str(boot))} /proc/sys/kernel/random/boot_id",
            f"{{ bindfs -f {shared} {shared} & }}",  # in the foreground, so that it is in this process's group
            f"until mountpoint -q {shared}; do sleep 0.05; done",
            f"cd {shlex.quote(str(ROOT))}",
            f"exec {shlex.join([sys.executable, *python])}",
        )
    )
    command = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", script]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, **{"stdin": pipe, "stdout": pipe, "text": True, "start_new_session": True, **options})
