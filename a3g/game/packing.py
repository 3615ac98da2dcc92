"""Byte strings and plain values as arrays, so that a game's state is one dictionary of arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[Any]]


def pack_bytes(name: str, parts: Sequence[bytes]) -> State:
    """Byte strings as one array and their lengths."""
    lengths = np.array([len(part) for part in parts], np.int64)
    return {name: np.frombuffer(b"".join(parts), np.uint8), f"{name}.lengths": lengths}


def unpack_bytes(name: str, state: State) -> list[bytes]:
    """The reverse of `pack_bytes`.

    Raises:
        ValueError: if lengths and bytes don't fit.
    """
    data, ends = state[name].tobytes(), np.cumsum(state[f"{name}.lengths"]).tolist()
    if (ends[-1] if ends else 0) != len(data) or (state[f"{name}.lengths"] < 0).any():
        raise ValueError(f"the lengths of {name} do not fit its {len(data)} bytes")
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def pack_values(name: str, values: Any) -> State:
    """Plain values, as JSON takes them, as an array."""
    return {name: np.frombuffer(json.dumps(values).encode(), np.uint8)}


def unpack_values(name: str, state: State) -> Any:
    """The reverse of `pack_values`; raises ValueError if the array holds no JSON."""
    return json.loads(state[name].tobytes())
