"""A few photos spread over the persons of a gallery, chosen from rows that come part by part."""

import pandas as pd


class Spread:
    """The photos that come first when every person's first photo goes before anybody's second.

    A person's photos, and photos of one turn, are in the order of their ids. Kept are at most ``most`` persons
    with at most ``most`` photos each: who is not among the first persons of a part is not among those of the
    whole, whatever comes later.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: pd.DataFrame | None = None

    def add(self, rows: pd.DataFrame) -> None:
        """Take in more photos: columns image_id, person and any others."""
        named = rows.assign(person=rows["person"].fillna(""))
        together = named if self._kept is None else pd.concat([self._kept, named])
        ordered = together.sort_values("image_id")
        firsts = ordered.drop_duplicates("person")
        enough = len(firsts) >= self._most
        self._kept = firsts.head(self._most) if enough else ordered.groupby("person").head(self._most)

    def chosen(self) -> pd.DataFrame:
        """Return at most ``most`` photos in their order."""
        if self._kept is None:
            return pd.DataFrame({"image_id": [], "person": []})
        turns = self._kept.assign(turn=self._kept.groupby("person").cumcount())
        ordered = turns.sort_values(["turn", "image_id"]).drop(columns="turn")
        return ordered.head(self._most).reset_index(drop=True)
