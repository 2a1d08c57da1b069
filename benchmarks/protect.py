"""``python -m benchmarks.protect``: the authors' loop and our presets side by side, on the same images and key.

The question is how long a variant takes per image until its stored pictures are as good as those that the
authors' loop ends with: mean SSIM_d and mean cos at least equal, SSIM_e and wrong-key SSIM_d no worse.
"""

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from avih.atomic import write_json
from avih.errors import AvihError
from avih.images import to_tensor
from avih.recognisers import load_recogniser
from avih.settings import KeySettings, preset
from benchmarks.baseline import calibrate
from benchmarks.machine import describe_machine, err, out
from benchmarks.options import Options
from benchmarks.report import Repeat, draw, summarise, table
from benchmarks.side_by_side import Bench, progressing
from benchmarks.subjects import PUBLIC_SEED, Network, Subjects, load_faces, obtain_generator

CALIBRATED_SIZES: Final = (1, 2, 4, 8)
MUCH_FASTER: Final = 0.97  # of the time: a batch that is too large for the images is only then worth a word


def prepare(options: Options) -> Subjects:
    """Load faces, recogniser and generators; train the generators that nobody gave and nobody cached."""
    device = options.device
    recogniser = load_recogniser(card=options.recogniser, weights=options.weights_file, device=device)
    card = recogniser.card
    faces = load_faces(source=options.source, template=card.template, count=options.images * options.repeats)
    err.print(f"{len(faces.pictures)} faces of {faces.source} aligned; recogniser {card.name}")

    def obtain(settings: KeySettings, seed: int, file: Path | None, name: str) -> Network:
        with progressing(f"training {name}", settings.steps) as advance:
            network = obtain_generator(
                settings=settings,
                seed=seed,
                size=(card.input_height, card.input_width),
                cache=options.cache,
                file=file,
                device=device,
                progress=advance,
            )
        err.print(f"{name}: {network.made}")
        return network

    paper_key = preset("paper", key_steps=options.key_steps).key
    wrong_key = preset("paper", key_steps=options.wrong_key_steps).key
    return Subjects(
        faces=faces,
        recogniser=recogniser,
        plain=obtain(paper_key, PUBLIC_SEED, options.generator, "key"),
        wrong=obtain(wrong_key, PUBLIC_SEED + 1, options.wrong_generator, "wrong key"),
        keyed=obtain(preset("fast").key, PUBLIC_SEED, options.keyed_generator, "keyed key"),
    )


def best_batch_size(options: Options, subjects: Subjects) -> tuple[int, dict[int, float]]:
    """Return the fastest batch size of the authors' loop that the images fill, and what was measured."""
    if options.baseline_batch is not None:
        return min(options.baseline_batch, options.images), {}
    originals = to_tensor(list(subjects.faces.pictures)).to(options.device)
    measured = calibrate(
        originals=originals,
        generator=subjects.plain.generator,
        recogniser=subjects.recogniser,
        batch_sizes=CALIBRATED_SIZES,
    )
    for size, seconds in measured.items():
        err.print(f"authors' loop, batch {size}: {seconds:.3f} s per image and step")
    fitting = {size: seconds for size, seconds in measured.items() if size <= options.images}
    best = min(fitting, key=lambda size: fitting[size])
    if min(measured.values()) < MUCH_FASTER * measured[best]:
        err.print(
            "A larger batch would be faster for the authors' loop: give more --images to be fair to it."
        )
    return best, measured


def run(options: Options) -> dict[str, Any]:
    """Run the benchmark and return its summary, which is also kept after every repeat: hours may go into one."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    subjects = prepare(options)
    batch_size, measured = best_batch_size(options, subjects)
    about = {
        "machine": describe_machine(options.device),
        "data": describe_data(options, subjects)
        | {"baseline_seconds_per_image_and_step": {str(size): value for size, value in measured.items()}},
    }
    repeats: list[Repeat] = []
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="avih-bench-") as folder:
        bench = Bench(options, subjects, batch_size=batch_size, folder=Path(folder))
        for number in range(options.repeats):
            err.print(f"repeat {number + 1} of {options.repeats}")
            repeats.append(bench.repeat(number))
            summary = summarise(repeats, tolerance=options.tolerance) | about
            write_json(options.out / "protect.json", summary)
            draw(summary, options.out / "protect.png")
    return summary


def describe_data(options: Options, subjects: Subjects) -> dict[str, Any]:
    """Return what the variants were compared on, in plain values."""
    return {
        "source": subjects.faces.source,
        "recogniser": subjects.recogniser.card.name,
        "recogniser_fingerprint": subjects.recogniser.fingerprint,
        "key": subjects.plain.made,
        "wrong_key": subjects.wrong.made,
        "keyed_key": f"{subjects.keyed.made}; its wrong key: the same network, another secret",
        "options": options.public(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        options, as_json = Options.parse(arguments)
        summary = run(options)
    except AvihError as error:
        err.print(f"error: {error}")
        return error.exit_code
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        out().print(table(summary))
        out().print(f"Tolerance on SSIM_e and wrong-key SSIM_d: {options.tolerance:g}.")
    for note in summary["notes"]:
        err.print(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
