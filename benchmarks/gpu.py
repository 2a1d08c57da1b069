"""``python -m benchmarks.gpu``: what a step costs on a GPU, by batch size and lever, and how busy the device is.

Utilisation is the floating-point operations of the networks per second over those of a bfloat16 matrix product
measured in the same run. It runs on a CPU too, at small sizes, so that it can be tried without a GPU.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from avih.atomic import write_bytes, write_json
from avih.errors import AvihError, UsageError
from avih.generators import build_generator, load_generator
from avih.recognisers import Recogniser, load_recogniser, read_card
from avih.recognisers.registry import build_network
from avih.settings import PAPER_KEY, preset
from benchmarks.baseline import seconds_per_image_and_step
from benchmarks.levers import (
    ALL_LEVERS,
    Levers,
    Networks,
    count_flops,
    make_step,
    peak_flops,
    seconds_per_call,
    tf32,
)
from benchmarks.machine import describe_machine, err, out
from benchmarks.options import HERE, WEIGHTS

LFW_IMAGES: Final = 13_233
PEAK_SIDE: Final = {"cuda": 8192, "cpu": 1024}
PROFILE_ROWS: Final = 40


def load_networks(options: argparse.Namespace) -> tuple[Networks, dict[str, str]]:
    """Load the networks; speed does not depend on the weights, so untrained ones serve where none are given."""
    made = {"generator": "untrained", "recogniser": "mobilefacenet, untrained"}
    settings = {"width": options.width, "blocks": options.blocks}
    if options.weights.is_file():
        recogniser = load_recogniser(card="mobilefacenet", weights=options.weights, device=options.device)
        made["recogniser"] = "mobilefacenet"
    else:
        card = read_card("mobilefacenet")
        network = build_network(card.architecture)
        recogniser = Recogniser(card=card, network=network, fingerprint="untrained").to(options.device)
    generator = build_generator(architecture="resnet", options=settings).to(options.device)
    if options.generator is not None:
        generator = load_generator(options.generator.read_bytes(), device=options.device)
        made["generator"] = "given file"
    return Networks(generator.eval().requires_grad_(False), recogniser), made


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all cells and return the figures."""
    torch.manual_seed(0)
    networks, made = load_networks(options)
    flops = count_flops(networks, device=options.device)
    kind = torch.device(options.device).type
    peak = peak_flops(device=options.device, side=PEAK_SIDE.get(kind, 2048), least=options.seconds)
    err.print(f"{sum(flops.values()) / 1e9:.1f} GFLOP per image and step; peak {peak / 1e12:.1f} TFLOP/s")
    authors = authors_seconds(networks, options)
    err.print(f"authors' loop at batch 1: {authors:.4f} s per image and step")
    rows: list[dict[str, Any]] = []
    for levers in chosen_levers(options.levers):
        for size in batch_sizes(options.largest):
            seconds = try_cell(networks, levers, size, options)
            if seconds is None:
                break
            rows.append(
                describe_cell(levers, size, seconds, sum(flops.values()), peak, authors, options.steps)
            )
            err.print(cell_text(rows[-1]))
    best = max(rows, key=lambda row: float(row["image_steps_per_second"]), default=None)
    return {
        "best": best,
        "flops_per_image_and_step": flops,
        "peak_bfloat16_flops": peak,
        "authors_batch_1_seconds_per_image_and_step": authors,
        "steps_per_image": options.steps,
        "networks": made | {"width": options.width, "blocks": options.blocks},
        "rows": rows,
        "machine": describe_machine(options.device),
        "notes": [] if kind == "cuda" else ["Measured on a CPU: these are no GPU figures."],
    }


def authors_seconds(networks: Networks, options: argparse.Namespace) -> float:
    """Time the authors' loop at batch 1 on this device, with torch's own choice about TF32."""
    originals = torch.rand(1, 3, *networks.size).to(options.device)
    return seconds_per_image_and_step(
        originals=originals,
        generator=networks.generator,
        recogniser=networks.recogniser,
        batch_size=1,
        timed_steps=20 if originals.is_cuda else 3,
    )


def batch_sizes(largest: int) -> list[int]:
    """Return the powers of 2 up to ``largest``."""
    return [2**power for power in range(largest.bit_length()) if 2**power <= largest]


def chosen_levers(names: str) -> tuple[Levers, ...]:
    """Return the lever sets of a comma-separated list, or all of them for an empty one.

    Raises:
        UsageError: there is no such set.
    """
    known = {levers.name: levers for levers in ALL_LEVERS}
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(f"Expected levers of {', '.join(known)}; got {', '.join(unknown)}.")
    return tuple(known[name] for name in asked) or ALL_LEVERS


def try_cell(networks: Networks, levers: Levers, size: int, options: argparse.Namespace) -> float | None:
    """Return the seconds of one step, or none where the memory does not suffice."""
    try:
        with tf32(levers.tf32):
            step = make_step(networks, levers, batch_size=size, device=options.device)
            return seconds_per_call(step, device=options.device, least=options.seconds)
    except torch.OutOfMemoryError:
        err.print(f"{levers.name}, batch {size}: out of memory")
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def describe_cell(
    levers: Levers, size: int, seconds: float, flops: int, peak: float, authors: float, steps: int
) -> dict[str, Any]:
    """Return the figures of one cell: image steps per second, utilisation, and the time for all of LFW."""
    per_second = size / seconds
    return {
        "levers": levers.name,
        "batch_size": size,
        "seconds_per_step": seconds,
        "image_steps_per_second": per_second,
        "images_per_second": per_second / steps,
        "utilisation": flops * per_second / peak,
        "lfw_hours": LFW_IMAGES * steps / per_second / 3600,
        "times_authors_batch_1": authors * per_second,
    }


def cell_text(row: dict[str, Any]) -> str:
    """Say in a line what a cell gave."""
    return (
        f"{row['levers']}, batch {row['batch_size']}: {row['image_steps_per_second']:.1f} image steps/s, "
        f"utilisation {row['utilisation']:.1%}, {row['times_authors_batch_1']:.1f} times the authors' batch 1"
    )


def table(figures: dict[str, Any]) -> Table:
    """Return the cells as a table for people."""
    shown = Table(
        title=f"{figures['machine'].get('gpu', figures['machine']['cpu'])}, torch {torch.__version__}"
    )
    shown.add_column("levers")
    for title in ("batch", "s/step", "image steps/s", "images/s", "utilisation", "LFW, hours", "x authors"):
        shown.add_column(title, justify="right")
    for row in figures["rows"]:
        shown.add_row(
            row["levers"],
            str(row["batch_size"]),
            f"{row['seconds_per_step']:.4f}",
            f"{row['image_steps_per_second']:.1f}",
            f"{row['images_per_second']:.3f}",
            f"{row['utilisation']:.1%}",
            f"{row['lfw_hours']:.2f}",
            f"{row['times_authors_batch_1']:.1f}",
        )
    return shown


def write_profile(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Write where the time of the best cell's step goes, kernel by kernel."""
    if figures["best"] is None:
        return
    networks, _ = load_networks(options)
    (levers,) = chosen_levers(figures["best"]["levers"])
    cuda = torch.device(options.device).type == "cuda"
    with tf32(levers.tf32):
        step = make_step(networks, levers, batch_size=figures["best"]["batch_size"], device=options.device)
        for _ in range(3):
            step()
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
        with profile(activities=activities) as profiler:
            step()
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    text = profiler.key_averages().table(sort_by=order, row_limit=PROFILE_ROWS)
    write_bytes(options.out / "gpu-profile.txt", text.encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    cuda = torch.cuda.is_available()
    parser.add_argument("--json", action="store_true", help="Print only JSON.")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--largest", type=int, default=1024 if cuda else 2, help="Largest batch size.")
    parser.add_argument("--levers", default="", help="Comma-separated sets; empty: all.")
    parser.add_argument("--seconds", type=float, default=1.0, help="Least seconds of a timed round.")
    parser.add_argument("--steps", type=int, default=preset("fast").protect.steps, help="Steps per image.")
    parser.add_argument("--width", type=int, default=PAPER_KEY.width)
    parser.add_argument("--blocks", type=int, default=PAPER_KEY.blocks)
    parser.add_argument("--generator", type=Path, help="A generator's safetensors file; none: untrained.")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="MobileFaceNet's weights, if there.")
    parser.add_argument("--profile", action="store_true", help="Write gpu-profile.txt for the best cell.")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    options = parse(arguments)
    try:
        figures = measure(options)
    except AvihError as error:
        err.print(f"error: {error}")
        return error.exit_code
    for note in figures["notes"]:
        err.print(note)
    write_json(options.out / "gpu.json", figures)
    if options.profile:
        write_profile(options, figures)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        out().print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
