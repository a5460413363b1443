"""What a run shows of itself while it trains, through Accelerate's trackers; never anything the result depends on."""

from __future__ import annotations

from typing import Any

from mixlang.console import say
from mixlang.documents import Recipe
from mixlang.errors import StageError
from mixlang.plan.build import Run


def tracker_name(asked: str) -> str | None:
    """The tracker to use, or None: `auto` is TensorBoard where it is installed.

    Raises:
        StageError: the one asked for is not installed; Accelerate itself would warn and log nothing.
    """
    from accelerate.tracking import get_available_trackers

    installed = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if asked == "none" or (asked == "auto" and "tensorboard" not in installed):
        return None
    if asked == "auto":
        return "tensorboard"
    if asked not in installed:
        shown = ", ".join(installed) or "none"
        raise StageError(
            f"the tracker '{asked}' is not installed, or Accelerate has none of that name (found: {shown})",
            "Install its package, or set launch.tracker to auto or none.",
        )
    return asked


class Tracking:
    """The trackers of one run. One that fails is given up aloud; the run goes on.

    Args:
        accelerator: made with `log_with` the tracker's name and a logging folder.
        run: what is trained.
        recipe: how.
    """

    def __init__(self, accelerator: Any, run: Run, recipe: Recipe) -> None:
        self.accelerator, self.working = accelerator, bool(accelerator.log_with)
        amounts = {f"samples {name}": count for name, count in run.amounts.items()}
        settings = {name: value for name, value in recipe.items() if isinstance(value, str | int | float)}
        self._attempt(lambda: accelerator.init_trackers(run.key[:12], {**settings, **amounts, "seed": run.seed}))

    def log(self, samples: int, values: dict[str, float]) -> None:
        """Scalars after `samples` samples."""
        self._attempt(lambda: self.accelerator.log(values, step=samples))

    def _attempt(self, action: Any) -> None:
        if not self.working:
            return
        try:
            action()
        except Exception as error:  # whatever a tracker raises: a network, a disk, an account
            self.working = False
            say(f"the tracker failed and is not used any more: {error!r}")
