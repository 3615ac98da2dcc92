"""Actions as they come from outside: checked once, the same for every engine."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from numpy.typing import NDArray


def check_action(action: Any, num_actions: int) -> int:
    """One action as an int.

    Raises:
        InvalidAction: if it is no whole number from 0 to num_actions - 1.
    """
    try:
        number = operator.index(action)
    except TypeError:
        number = -1
    if not 0 <= number < num_actions or isinstance(action, bool):
        raise InvalidAction(f"An action is a whole number from 0 to {num_actions - 1}, not {action!r}.")
    return number


def check_actions(actions: Any, num_lanes: int, num_actions: int) -> NDArray[np.int64]:
    """The actions of all lanes, from an array or a list of whole numbers, as a new int64 (num_lanes,).

    Raises:
        InvalidAction: if there isn't one for each lane, or one is no whole number from 0 to num_actions - 1.
    """
    try:
        array = np.asarray(actions)
    except (TypeError, ValueError):  # rows of different lengths
        array = np.empty(0)
    if array.shape != (num_lanes,) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= num_actions:
        raise InvalidAction(
            f"The actions of {num_lanes} lanes are an array or a list of {num_lanes} whole numbers from 0 to "
            f"{num_actions - 1}, not {actions!r}."
        )
    return array.astype(np.int64)
