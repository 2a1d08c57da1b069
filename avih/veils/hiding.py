"""Galleries under veils: putting each person's veil on that person's photos, as many as may share it."""

from collections.abc import Mapping, Sequence
from typing import Final

from avih.errors import UsageError
from avih.evaluation.summary import Limits
from avih.methods.pipeline import BatchHider, Entry, Made, Picture, Portrait, Work, personal
from avih.veils.apply import put_on
from avih.veils.veil import Veils

# A veil keeps less of a cosine than an optimisation per picture: means of 0.62 to 0.89 were measured
# (docs/methods.md), where strangers lie about 0. Whether persons are still told apart, the accuracies ONE and ALL
# say, whose limit is the usual one.
LIMITS: Final = Limits(cos_mean_min=0.5, cos_min_min=0.3)


class VeilHider(BatchHider):
    """Puts stored veils on: one multiplication and one addition per value, no optimisation."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        if work.veils is None:
            raise UsageError("Expected the veils of the gallery's persons to hide pictures, got none.")
        self.veils: Veils = work.veils

    def refused(self, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Refuse photos beyond those that may share a veil, and photos of nobody in particular."""
        most = self.work.settings.options["photos_per_veil"]
        refused: dict[str, str] = {}
        for person, photos in personal(entries).items():
            admitted = self.veils.admitted(person)[:most] if person else ()
            reason = (
                f"photos_per_veil {most} is reached for this person, counted over all versions under this key; "
                "photos under one veil expose each other"
                if person
                else "no_person is named for this photo, and a veil belongs to one person"
            )
            refused |= {entry.image: reason for entry in photos if entry.content_mac not in admitted}
        return refused

    def hide_some(self, portraits: Sequence[Portrait]) -> Sequence[Made]:
        """Return x' = alpha x + (1 - alpha) d of each photo (002, Equation 12)."""
        return [Made(self._veiled(portrait)) for portrait in portraits]

    def _veiled(self, portrait: Portrait) -> Picture:
        veil = self.veils.of(portrait.person, portrait.pixels.shape)
        done = put_on(portrait.pixels[None], veil=veil.pixels, alpha=veil.alpha)
        return done.pictures[0]  # nothing is clipped: a veil outside [0, 1] is refused when it is read
