"""The verdict in a sentence."""

from collections.abc import Sequence

from avih.lab.result import AttackEntry, ControlResult, Verdict


def summary_of(verdict: Verdict, attacks: Sequence[AttackEntry], controls: Sequence[ControlResult]) -> str:
    """Say what the verdict rests on."""
    counted = [one for one in attacks if one.verdict in ("pass", "warn", "fail")]
    failed = [one.title for one in counted if one.verdict == "fail"]
    warned = [one.title for one in counted if one.verdict == "warn"]
    weak = [f"control {one.name}" for one in controls if not one.ok]
    weak += [f"attack {one.name} broke" for one in attacks if one.verdict == "error"]
    weak += [] if counted else ["no attack that counts was tried"]
    if verdict == "fail":
        return (
            f"Without the key, pictures fall to {len(failed)} of {len(counted)} attacks: {'; '.join(failed)}."
        )
    if verdict == "attack too weak":
        return f"No attack got through, but that proves nothing: {', '.join(weak)}."
    if verdict == "warn":
        return f"No attack clearly got through; {len(warned)} reached something: {'; '.join(warned)}."
    return f"None of {len(counted)} attacks got more than a guess without the picture; all controls behaved."
