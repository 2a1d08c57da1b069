"""Hidden bytes, and the passphrase under which every key file is sealed: where it comes from.

A passphrase comes from the environment, from a key file or from a prompt, never from an argument: arguments
are shown in process lists, shell histories and run records.
"""

import getpass
import hashlib
import hmac
import os
import secrets
import stat
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from avih.errors import KeyRefused

PASSPHRASE_VARIABLE = "AVIH_PASSPHRASE"
KEY_FILE_VARIABLE = "AVIH_KEY_FILE"
NEW_PASSPHRASE_VARIABLE = "AVIH_NEW_PASSPHRASE"
NEW_KEY_FILE_VARIABLE = "AVIH_NEW_KEY_FILE"
# What is not handed on to programs that need no passphrase.
SECRET_VARIABLES = (
    PASSPHRASE_VARIABLE, KEY_FILE_VARIABLE, NEW_PASSPHRASE_VARIABLE, NEW_KEY_FILE_VARIABLE,
)  # fmt: skip
MINIMUM_CHARACTERS = 8
KEY_FILE_LIMIT = 64 * 1024

_THREE_WAYS = (
    f"Set {PASSPHRASE_VARIABLE}, or name a key file (mode 600) in {KEY_FILE_VARIABLE}, "
    "or run the command in a terminal and answer the prompt."
)
_NEW_WAYS = (
    f"Set {NEW_PASSPHRASE_VARIABLE}, or name a key file (mode 600) in {NEW_KEY_FILE_VARIABLE}, "
    "or run the command in a terminal and answer the prompt."
)
# The hash of hidden bytes must not be comparable with anything outside this process.
_PROCESS_KEY = secrets.token_bytes(32)


def passphrase_given() -> bool:
    """Tell whether the environment names a passphrase or a key file, so that nobody has to be asked."""
    return bool(os.environ.get(PASSPHRASE_VARIABLE) or os.environ.get(KEY_FILE_VARIABLE))


class HiddenBytes:
    """Bytes seen only through :meth:`reveal`: nothing in repr, no pickle, comparison in constant time."""

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        self.__value = bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes; hand them straight to the cipher and keep no copy."""
        return self.__value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(********)"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, HiddenBytes):
            return NotImplemented
        return hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return int.from_bytes(hmac.new(_PROCESS_KEY, self.__value, hashlib.sha256).digest()[:8], "big")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # Copying and every pickle dialect (multiprocessing, Dask, Prefect results) come through here.
        raise TypeError(
            f"A {type(self).__name__} is neither pickled nor copied; let each process find its own."
        )

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"The state of a {type(self).__name__} is not handed out.")


class Passphrase(HiddenBytes):
    """The passphrase, as bytes, that opens the key files of one store."""

    __slots__ = ()

    def require_length(self) -> None:
        """Check the minimum length for a passphrase that seals something new.

        Raises:
            KeyRefused: it has fewer than 8 characters.
        """
        characters = len(self.reveal().decode("utf-8", errors="replace"))
        if characters < MINIMUM_CHARACTERS:
            raise KeyRefused(
                f"Expected a passphrase of at least {MINIMUM_CHARACTERS} characters to seal a key, got "
                f"{characters}. Choose a longer one; several random words do well."
            )


PassphraseSource = Passphrase | Callable[[], Passphrase] | None


class _Prompt:
    """The one prompt answer of this process, and whether it was typed twice."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer: Passphrase | None = None
        self.confirmed = False


_prompt = _Prompt()


def find_passphrase(*, confirm: bool = False) -> Passphrase:
    """Find the passphrase: ``AVIH_PASSPHRASE``, else the file named in ``AVIH_KEY_FILE``, else a prompt.

    Args:
        confirm: something new is to be sealed: check the minimum length, and have a prompt answered twice.

    Raises:
        KeyRefused: there is none, both variables are set, the key file cannot be used, or the passphrase is
            too short for a new key.
    """
    found = _from_environment(PASSPHRASE_VARIABLE, KEY_FILE_VARIABLE, _THREE_WAYS) or _ask(confirm=confirm)
    if confirm:
        found.require_length()
    return found


def find_new_passphrase() -> Passphrase:
    """Find the passphrase that comes next: ``AVIH_NEW_PASSPHRASE``, ``AVIH_NEW_KEY_FILE``, or a prompt, twice.

    Raises:
        KeyRefused: there is none, both variables are set, the key file cannot be used, it is too short, or the
            two answers differ.
    """
    found = new_passphrase_given()
    if found is None:
        if not sys.stdin or not sys.stdin.isatty():
            raise KeyRefused(f"Expected a new passphrase for the key store, got none. {_NEW_WAYS}")
        found = _typed("New passphrase of the key store: ", _NEW_WAYS)
        found.require_length()
        if _typed("The new passphrase again: ", _NEW_WAYS) != found:
            raise KeyRefused("Expected the same new passphrase twice, got two different ones. Try again.")
    found.require_length()
    return found


def new_passphrase_given() -> Passphrase | None:
    """Return the new passphrase that the environment names; None where it names none.

    Raises:
        KeyRefused: both variables are set, or the key file cannot be used.
    """
    return _from_environment(NEW_PASSPHRASE_VARIABLE, NEW_KEY_FILE_VARIABLE, _NEW_WAYS)


def _from_environment(variable: str, file_variable: str, ways: str) -> Passphrase | None:
    # An empty variable counts as none: that is how a variable is usually taken back.
    text, file = os.environ.get(variable), os.environ.get(file_variable)
    if text and file:
        raise KeyRefused(f"Expected one of {variable} and {file_variable}, got both. Unset the wrong one.")
    if text:
        return Passphrase(_text_bytes(text))
    return _read_key_file(Path(file).expanduser(), file_variable, ways) if file else None


def resolve_passphrase(source: PassphraseSource, *, confirm: bool = False) -> Passphrase:
    """Return the given passphrase, or what a given function finds, else :func:`find_passphrase`'s."""
    if source is None:
        return find_passphrase(confirm=confirm)
    return source if isinstance(source, Passphrase) else source()


def forget_prompt() -> None:
    """Forget the prompt's answer, so that the next call asks again (after a mistyped one)."""
    with _prompt.lock:
        _prompt.answer, _prompt.confirmed = None, False


def _text_bytes(text: str) -> bytes:
    """Encode typed text; composed and decomposed accents (two keyboards) give the same bytes."""
    return unicodedata.normalize("NFC", text).encode("utf-8", errors="surrogateescape")


def _read_key_file(path: Path, variable: str, ways: str) -> Passphrase:
    try:
        with path.open("rb") as file:
            # The mode of the opened file, not of the name: the name could be swapped in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyRefused(
                    f"Expected a key file that only its owner can read, got mode {mode:o} for {path}. "
                    f"Run: chmod 600 {path}"
                )
            content = file.read(KEY_FILE_LIMIT + 1)
    except OSError as error:
        raise KeyRefused(
            f"Expected a readable file in {variable}, got {path}: {error.strerror}. {ways}"
        ) from error
    if len(content) > KEY_FILE_LIMIT:
        raise KeyRefused(
            f"Expected a key file of at most {KEY_FILE_LIMIT} bytes, got more in {path}. Name the right file."
        )
    if content.endswith(b"\n"):
        content = content[:-2] if content.endswith(b"\r\n") else content[:-1]
    if not content:
        raise KeyRefused(f"Expected a passphrase in the key file, got an empty file: {path}. {ways}")
    return Passphrase(content)


def _ask(*, confirm: bool) -> Passphrase:
    with _prompt.lock:
        if _prompt.answer is None:
            if not sys.stdin or not sys.stdin.isatty():
                raise KeyRefused(f"Expected a passphrase for the key store, got none. {_THREE_WAYS}")
            answer = _typed("Passphrase of the key store: ")
        else:
            answer = _prompt.answer
        if confirm and not _prompt.confirmed:
            answer.require_length()
            if _typed("The same passphrase again: ") != answer:
                raise KeyRefused("Expected the same passphrase twice, got two different ones. Try again.")
            _prompt.confirmed = True
        _prompt.answer = answer
        return answer


def _typed(question: str, ways: str = _THREE_WAYS) -> Passphrase:
    try:
        text = getpass.getpass(question)
    except EOFError:
        text = ""
    if not text:
        raise KeyRefused(f"Expected a passphrase for the key store, got an empty answer. {ways}")
    return Passphrase(_text_bytes(text))
