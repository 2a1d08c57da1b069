"""Options that several commands share, written once."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.complete import complete_cards, complete_galleries, complete_versions

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="AVIH_STORE",
        help="Folder of the store, or s3://BUCKET/PREFIX.",
        show_default="./data",
    ),
]
GalleryArgument = Annotated[
    str, typer.Argument(help="Name of the gallery.", autocompletion=complete_galleries)
]
GalleryOption = Annotated[
    str, typer.Option("--gallery", help="Name of the gallery.", autocompletion=complete_galleries)
]
# What ``tasks.run_record.load_run`` takes where no version is named.
VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version",
        help="Gallery version.",
        show_default="current; the newest before one is live",
        autocompletion=complete_versions,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]

# What begins a gallery: avih run, and avih plan, which asks what it would take.
RecogniserOption = Annotated[
    str,
    typer.Option(
        "--recogniser",
        help="Recogniser card: a name (see avih recognisers) or a file.",
        autocompletion=complete_cards,
    ),
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights of the recogniser (.safetensors or .pth).")
]
PresetOption = Annotated[str, typer.Option("--preset", help="fast (default) or paper (the papers' method).")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Most photos to take.")]
NewGalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        help="Name of the gallery.",
        show_default="the source's",
        autocompletion=complete_galleries,
    ),
]
LayoutOption = Annotated[
    str, typer.Option("--layout", help="auto, lfw, orl, celeba, coco, image_folder, synthetic.")
]
KeyStepsOption = Annotated[
    int | None, typer.Option("--key-steps", min=1, help="Training steps of a new key's generator.")
]
LpipsOption = Annotated[Path | None, typer.Option("--lpips-backbone", help="AlexNet weights for LPIPS.")]
