"""Finds the cartridge that gym-super-mario-bros ships, without importing that package."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from a3g.errors import UserError

# Both gym-super-mario-bros 7.4.0 and 9.1.0 ship this same file.
ROM_SHA256_PREFIX = "ec299b99"


def find_rom() -> Path:
    """Path of the Super Mario Bros ROM inside the installed gym-super-mario-bros.

    Importing gym-super-mario-bros 7.4.0 would pull in the old ``gym`` with its warnings, so only the package's
    location is looked up.

    Raises:
        UserError: if the package is not installed, or holds no such file, or another one.
    """
    spec = importlib.util.find_spec("gym_super_mario_bros")
    if spec is None or spec.origin is None:
        raise UserError("gym-super-mario-bros is not installed, and the game comes from it: run `make setup`.")
    found = sorted(Path(spec.origin).parent.rglob("super-mario-bros.nes"))
    if not found:
        raise UserError(f"gym-super-mario-bros in {Path(spec.origin).parent} holds no super-mario-bros.nes: reinstall it.")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if not digest.startswith(ROM_SHA256_PREFIX):
        raise UserError(
            f"{found[0]} is not the cartridge this project was built for "
            f"(SHA-256 {digest[:8]}…, expected {ROM_SHA256_PREFIX}…): reinstall gym-super-mario-bros."
        )
    return found[0]
