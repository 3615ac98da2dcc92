"""A scorecard as a picture: a cell for each stage with its clear rate, the rate's 95% interval, and how far it got."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from a3g.files import write_atomically

_COLUMNS = 8
_DPI = 110


@dataclass(frozen=True, slots=True)
class StageCard:
    """What is known of one stage."""

    stage: str
    episodes: int
    cleared: int
    interval: tuple[float, float]
    """Of the clear rate, 95%."""
    furthest: int
    """Most pixels of new ground in an episode."""


def draw_scorecard(cards: Sequence[StageCard], stages: Sequence[str], title: str, path: Path) -> None:
    """Draw the stages, eight in a row; those that were not played are grey.

    Args:
        cards: of the stages that were played.
        stages: the names of all, in the game's order.
        title: above the picture.

    Raises:
        OSError: if the picture can't be written.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows = -(-len(stages) // _COLUMNS)
    figure = Figure(figsize=(11, 5.2))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.88))
    axis.set(xlim=(0, _COLUMNS), ylim=(rows, 0))
    axis.set_axis_off()
    figure.suptitle(title, fontsize=11, y=0.97)
    known = {card.stage: card for card in cards}
    for i, stage in enumerate(stages):
        row, column = divmod(i, _COLUMNS)
        card = known.get(stage)
        rate = card.cleared / card.episodes if card else 0.0
        # Pale colours, so that black letters can be read on all of them.
        colour = colormaps["RdYlGn"](0.2 + 0.6 * rate) if card else (0.9, 0.9, 0.9, 1.0)
        axis.add_patch(Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, facecolor=(*colour[:3], 0.75), edgecolor="none"))
        axis.text(column + 0.1, row + 0.24, stage, fontsize=14, weight="bold")
        if card is None:
            axis.text(column + 0.1, row + 0.6, "not played", fontsize=9)
            continue
        verdict = "cleared" if card.cleared else "not cleared"
        low, high = card.interval
        axis.text(column + 0.92, row + 0.23, verdict, fontsize=8, ha="right")
        axis.text(column + 0.1, row + 0.51, f"{rate:.0%} of {card.episodes}", fontsize=11)
        axis.text(column + 0.1, row + 0.68, f"95%: {low:.0%} to {high:.0%}", fontsize=8)
        axis.text(column + 0.1, row + 0.86, f"furthest x {card.furthest:,}", fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_atomically(path, picture.getvalue())
