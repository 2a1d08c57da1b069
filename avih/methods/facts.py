"""What a person has to know before choosing a method: said once, by the method itself."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MethodFacts:
    """A method in plain words.

    Args:
        name: what settings and shards call it.
        title: its full name.
        paper: where it comes from, with the section.
        needs: what it must be given.
        gives: what its user gets.
        cannot: what it does not do; where it is unsafe, that comes first.
    """

    name: str
    title: str
    paper: str
    needs: str
    gives: str
    cannot: str

    def as_dict(self) -> dict[str, str]:
        """Return plain values for JSON."""
        return asdict(self)
