"""Options that several commands share, written once."""

from typing import Annotated

import typer

from flows.cli.complete import complete_galleries, complete_versions

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
