"""Where the weights of a run came from: the [provenance] table of a bundle.

Guarantees: the command in it trains again with the same settings (tested). Folders are left out of it.
"""

from .train_options import command


def provenance(training, model):
    """The table for `model`, made by the run `training`."""
    return {
        "command": command(training.architecture, training.recipe),
        "seed": training.recipe.seed,
        "steps": training.done,
        "minutes": round(training.seconds / 60.0, 1),
        "trained_on": training.trained_on,
        **({"begun_with": training.begun} if training.begun else {}),
        **training.counts,
        "trained_at": training.saved_at,
        "architecture": training.architecture.describe(model),
    }
