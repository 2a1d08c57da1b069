"""Check a recogniser's card: can it be read, do weights and network fit, and is it used as it was trained?

Loading a recogniser stops at the first fault. The check goes on as far as it can, tries what the card might have
said instead, and says in words what to change.
"""

from pathlib import Path

import torch

from avih.errors import AvihError, UsageError
from avih.recognisers import script
from avih.recognisers.card import RecogniserCard, read_card
from avih.recognisers.check_network import behaviour_findings, features_finding, stable_finding
from avih.recognisers.check_photos import photo_scores, photos_findings
from avih.recognisers.check_probe import met_by, probe_finding, probe_table
from avih.recognisers.findings import Checked, Finding, ok, refused, warning
from avih.recognisers.load import Recogniser, brings_weights, open_network
from avih.recognisers.registry import build_network
from avih.recognisers.state import check_digest, find_weights, read_state
from avih.weights_files import weights_bytes


def check_recogniser(
    *, card: str | Path, weights: Path | None = None, photos: Path | None = None, cache: Path | None = None
) -> Checked:
    """Answer every question about a card that can be asked; the owner's code in a card is run.

    Args:
        card: the name of a bundled card, or the path of a ``.toml`` file.
        weights: a weights file; without it the card's own.
        photos: folder of photos of persons, by which colours, range and template are judged.
        cache: folder for fetched weights; without it the user's cache folder.

    Raises:
        UsageError: the folder of photos cannot be read.
    """
    try:
        facts = read_card(card)
    except AvihError as error:
        return Checked(str(card), (refused("card", error),))
    findings = [ok("card", _summary(facts))]
    try:
        findings += _weights(facts, weights, cache)
        recogniser = open_network(card=facts, weights=weights, cache=cache)
    except AvihError as error:
        what = "weights" if len(findings) == 1 else "architecture"
        hint = _hint(facts, weights, cache) if what == "architecture" else ""
        return Checked(facts.name, (*findings, refused(what, error, hint)))
    findings.append(ok("architecture", _network(recogniser)))
    findings.append(features_finding(recogniser))
    if findings[-1].state == "wrong":
        fix = met_by(recogniser)
        if fix is not None:
            findings.append(warning("probe", "not asked", f"With {fix.words()} the probe is met."))
        return Checked(facts.name, tuple(findings))
    findings += behaviour_findings(recogniser)
    findings.append(probe_finding(recogniser))
    scores = photo_scores(recogniser, photos) if photos else None
    findings += photos_findings(recogniser.card, scores) if scores else []
    return Checked(
        facts.name,
        tuple(findings),
        probe="" if facts.probe or any(one.state == "wrong" for one in findings) else probe_table(recogniser),
        scores=scores.as_rows() if scores else (),
    )


def _summary(card: RecogniserCard) -> str:
    return (
        f"{card.name}: {card.architecture}, {card.template} {card.colour_order}, "
        f"(pixel - {card.mean}) / {card.std}, {card.feature_size} features"
    )


def _network(recogniser: Recogniser) -> str:
    count = sum(values.numel() for values in recogniser.network.parameters())
    if not count:
        return "opened; its weights are frozen into its code, so it runs on a CPU only"
    return f"opened, {count:,} parameters, all in place"


def _weights(card: RecogniserCard, weights: Path | None, cache: Path | None) -> list[Finding]:
    """Say where the weights come from and whether the card pins them."""
    if brings_weights(card, weights):
        with torch.random.fork_rng(devices=[]):
            first = open_network(card=card, weights=None, cache=cache)
            torch.manual_seed(torch.initial_seed() + 1)
            return [stable_finding(first, open_network(card=card, weights=None, cache=cache))]
    path = find_weights(card=card, weights=weights, cache=cache)
    digest = check_digest(weights_bytes(path), card=card, name=path.name)
    if card.sha256 is not None:
        return [ok("weights", f"{path.name}, SHA-256 as in the card")]
    return [
        warning(
            "weights", f"{path.name}; the card does not say which file it was written for",
            f'Add: sha256 = "{digest}"',
        )
    ]  # fmt: skip


def _hint(card: RecogniserCard, weights: Path | None, cache: Path | None) -> str:
    """Say which prefix or which ignored tensors would make the weights fit, where one would."""
    if card.architecture == script.NAME:
        return ""
    try:
        state = read_state(card=card, path=find_weights(card=card, weights=weights, cache=cache))
        network = build_network(card.architecture, folder=card.folder)
    except UsageError:
        return ""
    rename = getattr(network, "own_name", str)
    wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    heads = sorted({name.partition(".")[0] + "." for name in names if "." in name})
    prefix = max(["", *heads], key=lambda head: len(wanted & {rename(n.removeprefix(head)) for n in names}))
    left = [name.removeprefix(prefix) for name in names if rename(name.removeprefix(prefix)) not in wanted]
    missing = wanted - {rename(name.removeprefix(prefix)) for name in names}
    said = [f'state_prefix = "{prefix}"'] if prefix else []
    spare = sorted({name.partition(".")[0] + "." for name in left})
    if spare and not missing and not any(name.startswith(tuple(spare)) for name in wanted):
        said.append("ignored = " + str([prefix + head for head in spare]).replace("'", '"'))
    return f"It may fit with {' and '.join(said)} in the card." if said else ""
