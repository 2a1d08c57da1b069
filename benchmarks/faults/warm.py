"""Everything that a forked process of the product imports, imported once: only the fork server loads this."""

import flows.environment  # noqa: F401

import matplotlib.pyplot  # noqa: F401
import mlflow  # noqa: F401
import prefect  # noqa: F401
import sklearn.discriminant_analysis  # noqa: F401

import tasks.recover_gallery
import tasks.verify_store  # noqa: F401
from flows.cli import (  # noqa: F401  # they register their commands
    drill,
    gallery,
    keys,
    plan,
    rotate,
    server,
    stages,
    status,
    verify,
)
from flows.nightly import nightly_reprotect  # noqa: F401
from flows.rotate import rotate_keys  # noqa: F401
from flows.run_gallery import run_gallery  # noqa: F401
