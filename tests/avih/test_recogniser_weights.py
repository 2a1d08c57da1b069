"""Weights files of recognisers: where they come from, which are refused, and what the refusal says."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from avih.errors import DownloadFailed, IntegrityError, UsageError
from avih.recognisers import load_recogniser
from recogniser_files import CardWriter, card_writer, seeded_state, sha256_of


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return seeded_state()


@pytest.fixture
def weights(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    return path


@pytest.fixture
def write_card(tmp_path: Path) -> CardWriter:
    return card_writer(tmp_path)


def test_fingerprint_is_the_same_from_every_container(
    write_card: CardWriter, weights: Path, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    card = write_card()
    zipped, old = tmp_path / "zipped.pth", tmp_path / "old.pt"
    torch.save(state, zipped)
    torch.save({name: state[name] for name in reversed(state)}, old, _use_new_zipfile_serialization=False)
    prints = {load_recogniser(card=card, weights=path).fingerprint for path in (weights, zipped, old)}
    assert len(prints) == 1


def test_training_checkpoint_is_unwrapped(
    write_card: CardWriter, weights: Path, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    inner = {f"model.{name}": tensor.double() for name, tensor in state.items()}
    inner["head.kernel"] = torch.zeros(128, 10)
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": inner, "epoch": 3}, checkpoint)
    plain = load_recogniser(card=write_card(), weights=weights)
    card = write_card(state_key="state_dict", state_prefix="model.", ignored=["head."])
    unwrapped = load_recogniser(card=card, weights=checkpoint)
    assert unwrapped.fingerprint == plain.fingerprint
    assert {tensor.dtype for tensor in unwrapped.parameters()} == {torch.float32}
    with pytest.raises(UsageError, match=r"found others: epoch.*state_key"):
        load_recogniser(card=write_card(ignored=["state_dict"]), weights=checkpoint)


def test_the_cards_own_file_is_found_beside_the_card(write_card: CardWriter, weights: Path) -> None:
    recogniser = load_recogniser(card=write_card(weights=weights.name))
    assert recogniser.card.weights == weights


def test_no_weights_known_says_how_to_give_them() -> None:
    with pytest.raises(UsageError, match=r"mobilefacenet .* give them with --weights"):
        load_recogniser(card="mobilefacenet")


def test_missing_weights_file(write_card: CardWriter, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected the weights of mine at .*gone\.pth, found no file"):
        load_recogniser(card=write_card(), weights=tmp_path / "gone.pth")
    with pytest.raises(UsageError, match=r"away\.pth, found no file"):
        load_recogniser(card=write_card(weights="away.pth"))


def test_another_sha256(write_card: CardWriter, weights: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(IntegrityError) as caught:
        load_recogniser(card=write_card(sha256=wrong), weights=weights)
    assert wrong in str(caught.value)
    assert sha256_of(weights) in str(caught.value)


@pytest.mark.parametrize("suffix", [".pkl", ".ckpt", ".bin", ".npz", ""])
def test_other_kinds_of_file_are_refused(write_card: CardWriter, weights: Path, suffix: str) -> None:
    other = weights.with_suffix(suffix)
    other.write_bytes(weights.read_bytes())
    with pytest.raises(UsageError, match=r"Expected weights in \.safetensors, \.pth, \.pt, got"):
        load_recogniser(card=write_card(), weights=other)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_cut_files_are_refused(
    write_card: CardWriter, tmp_path: Path, state: dict[str, Tensor], suffix: str, kept: int
) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IntegrityError, match="damaged"):
        load_recogniser(card=write_card(), weights=path)


class TouchesAFile:
    """A pickled object of this class creates a file wherever it is unpickled without restrictions."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    write_card: CardWriter, tmp_path: Path, state: dict[str, Tensor], zipped: bool
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    torch.save({**state, "extra": TouchesAFile(mark)}, path, _use_new_zipfile_serialization=zipped)
    # With the right SHA-256 only the restricted reader stands between the file and the machine.
    card = write_card(sha256=sha256_of(path), ignored=["extra"])
    with pytest.raises(IntegrityError, match="would run code"):
        load_recogniser(card=card, weights=path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the file is live: the unrestricted reader does run it
    assert mark.exists()


@pytest.mark.parametrize(
    ("drop", "add", "words"),
    [
        (
            ["conv1.conv.weight", "blocks.3.conv.7.bias"],
            {},
            r"2 missing: blocks\.3\.conv\.7\.bias, conv1\.conv\.wei",
        ),
        ([], {"head.weight": torch.zeros(2)}, r"1 unexpected: head\.weight"),
        (
            [],
            {"linear1.bn.bias": torch.zeros(64)},
            r"of another shape: linear1\.bn\.bias \(64,\) instead of \(128,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    write_card: CardWriter,
    tmp_path: Path,
    state: dict[str, Tensor],
    drop: list[str],
    add: dict[str, Tensor],
    words: str,
) -> None:
    path = tmp_path / "other.safetensors"
    kept = {name: tensor for name, tensor in state.items() if name not in drop}
    safetensors.torch.save_file({**kept, **add}, path)
    with pytest.raises(UsageError, match=words):
        load_recogniser(card=write_card(), weights=path)


def test_many_missing_tensors_are_counted(write_card: CardWriter, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    safetensors.torch.save_file({"conv1.bn.bias": torch.zeros(64)}, path)
    with pytest.raises(UsageError, match=r"\d+ missing: blocks\.0.* and \d+ more"):
        load_recogniser(card=write_card(), weights=path)


def test_a_checkpoint_without_tensors(write_card: CardWriter, tmp_path: Path) -> None:
    path = tmp_path / "list.pt"
    torch.save([torch.zeros(3)], path)
    with pytest.raises(UsageError, match="Expected a dictionary of tensors for mine, got list"):
        load_recogniser(card=write_card(), weights=path)


def test_unknown_device(write_card: CardWriter, weights: Path) -> None:
    with pytest.raises(UsageError, match="The device 'abacus' cannot be used here"):
        load_recogniser(card=write_card(), weights=weights, device="abacus")


# --- addresses ---


def test_weights_are_fetched_once_and_kept(write_card: CardWriter, weights: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    card = write_card(address=weights.as_uri(), sha256=sha256_of(weights))
    first = load_recogniser(card=card, cache=cache)
    kept = list(cache.iterdir())
    assert [sha256_of(path) for path in kept] == [sha256_of(weights)]
    weights.unlink()
    assert load_recogniser(card=card, cache=cache).fingerprint == first.fingerprint


def test_fetched_file_with_another_sha256(write_card: CardWriter, weights: Path, tmp_path: Path) -> None:
    card = write_card(address=weights.as_uri(), sha256="1" * 64)
    with pytest.raises(IntegrityError, match=sha256_of(weights)):
        load_recogniser(card=card, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_address_without_the_file(write_card: CardWriter, tmp_path: Path) -> None:
    card = write_card(address=(tmp_path / "gone.safetensors").as_uri(), sha256="1" * 64)
    with pytest.raises(DownloadFailed, match=r"could not be fetched .* give it with --weights"):
        load_recogniser(card=card, cache=tmp_path / "cache")


def test_address_out_of_reach(write_card: CardWriter, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused at once
        port = taken.getsockname()[1]
        card = write_card(address=f"https://127.0.0.1:{port}/w.safetensors", sha256="1" * 64)
        with pytest.raises(DownloadFailed, match="check the network"):
            load_recogniser(card=card, cache=tmp_path / "cache")
