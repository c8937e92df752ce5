"""One progress bar over all stages, with the time that is left.

Guarantees: the bar never goes back. Output that cannot be written ends nothing.
Leaves out: what a stage does. Its expected seconds are estimates, so the time left is one too.
"""

import sys
import time

from tqdm import tqdm

SHOWN = "{desc} {percentage:3.0f}%|{bar:24}| {postfix}"
WHOLE = 1000  # ticks of the bar
SECONDS_BETWEEN_LINES = 60  # where nobody watches a terminal


class Progress:
    """`seconds` is what each stage is expected to take, in order, by name."""

    def __init__(self, seconds):
        self.seconds = dict(seconds)
        self.name, self.share, self.began, self.resumed_at = None, 0.0, time.monotonic(), 0.0
        watched = sys.stderr is not None and sys.stderr.isatty()
        between = 0.2 if watched else SECONDS_BETWEEN_LINES
        self.bar = tqdm(total=WHOLE, bar_format=SHOWN, mininterval=between, maxinterval=between, dynamic_ncols=watched)

    def expect(self, seconds):
        """Replace the expected seconds of the stages named."""
        self.seconds.update(seconds)

    def begin(self, name, words):
        """The stage `name` begins, for a person `words`; those before it are done."""
        self.name, self.share, self.began, self.resumed_at = name, 0.0, time.monotonic(), 0.0
        self.bar.set_description_str(words, refresh=False)
        self._show()

    def at(self, share):
        """The present stage has done this share of its work."""
        self.share = min(1.0, max(self.share, share))
        self._show()

    def steps(self, items, initial=0, total=None, **_words):
        """What `tqdm` is elsewhere: yields `items`, and moves the bar by each."""
        return Steps(self, items, initial, total)

    def left(self):
        """The seconds that are probably left: of this stage by what it took until now, of later ones as expected."""
        names = list(self.seconds)
        later = names[names.index(self.name) + 1 :] if self.name in names else names
        expected, gone = self.seconds.get(self.name, 0.0), time.monotonic() - self.began
        fresh = max(self.share - self.resumed_at, 0.0)
        measured = gone / fresh * (1.0 - self.share) if fresh > 0.02 else expected * (1.0 - self.share)
        return measured + sum(self.seconds[name] for name in later)

    def _show(self):
        names, whole = list(self.seconds), max(sum(self.seconds.values()), 1e-9)
        before = sum(self.seconds[name] for name in names[: names.index(self.name)]) if self.name in names else 0.0
        done = before + self.share * self.seconds.get(self.name, 0.0)
        self.bar.set_postfix_str(f"about {in_words(self.left())} left", refresh=False)
        self.bar.update(max(0, round(WHOLE * done / whole) - self.bar.n))

    def clear(self):
        """Take the bar away before something is printed; the next movement shows it again."""
        self.bar.clear()

    def close(self):
        self.bar.close()


class Steps:
    """An iteration that moves a `Progress`; it takes what the callers of `tqdm` tell their bar."""

    def __init__(self, progress, items, initial, total):
        self.progress, self.items, self.initial = progress, items, initial
        self.total = total if total is not None else len(items)
        progress.resumed_at = initial / max(1, self.total)

    def __iter__(self):
        for n, item in enumerate(self.items, self.initial):
            yield item
            self.progress.at((n + 1) / max(1, self.total))

    def set_postfix(self, **_words):
        pass


def in_words(seconds):
    """A duration for a person."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
