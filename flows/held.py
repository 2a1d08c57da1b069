"""A flow holds its gallery: a scheduled one waits for whoever has it, a person is told who that is."""

from contextlib import AbstractContextManager

import flows.environment  # noqa: F401  # before prefect

from prefect import runtime

from avih.naming import Store
from tasks.gallery_lock import PATIENCE, gallery_lock


def held(store: Store, gallery: str, *, purpose: str) -> AbstractContextManager[None]:
    """Hold a gallery while a block of a flow runs, as :func:`tasks.gallery_lock.gallery_lock` does."""
    return gallery_lock(store, gallery, purpose=purpose, patience=PATIENCE if runtime.deployment.id else 0.0)
