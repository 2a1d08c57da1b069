"""The errors of avih: each says what was expected, what came, and what to do; each knows its exit code."""


class AvihError(Exception):
    """Base of every error that a user can act on; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(AvihError):
    """An argument, a settings value or an input folder cannot be used as it is."""

    exit_code = 2


class TooFew(UsageError):
    """There are too few pictures, persons or keys for a measurement, which for a larger gallery makes sense."""


class SettingsMismatch(UsageError):
    """Work in the store was made with other settings than those asked for now."""


class KeyRefused(AvihError):
    """A key, a passphrase or a key's state does not allow what was asked."""

    exit_code = 3


class GateRefused(KeyRefused):
    """A key did not pass the activation gate."""


class IntegrityError(AvihError):
    """A stored file is not what its record says: truncated, altered, swapped or missing."""

    exit_code = 3


class ChangedElsewhere(IntegrityError):
    """A file of a shared store was changed by somebody else since it was read here."""


class StoreUnreachable(AvihError):
    """A store elsewhere does not answer; what was done here is kept."""


class LockLost(AvihError):
    """A lock in a shared store could not be kept, and somebody else may hold it now."""


class QualityBelowLimits(AvihError):
    """The gallery was made, but a measured figure is outside the limits of the settings."""

    exit_code = 4


class ImageRefused(AvihError):
    """One input photo cannot be used; ``reason`` is the short word that goes into the manifest row.

    Args:
        reason: machine-readable word, for instance ``"truncated"`` or ``"no_face"``.
        detail: one sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DownloadFailed(AvihError):
    """A data set or weights file could not be fetched whole."""


class NetworkFailed(DownloadFailed):
    """The network or a server failed, which may pass; what had arrived is kept."""
