"""Reference of exit codes and errors, from the errors themselves."""

from avih import errors
from docs.manual.markdown import table

MEANING = {
    0: "ok",
    1: "some images failed (run, protect, nightly, rotate), or something outside broke (disk, server, network): "
    "what is finished stays",
    2: "usage: an option, a settings value or an input folder cannot be used as it is",
    3: "key or integrity refused: a wrong passphrase, a key's state, a file that is not what was signed",
    4: "quality below the limits, a failed audit, or a picture that a drill did not get back",
    130: "stopped by Ctrl-C; the same command again goes on",
}
INTRODUCTION = """# Exit codes and errors

Each error says what was expected, what came and what to do; `--debug` shows where it arose. Made from the code.

"""


def exit_codes_page() -> str:
    """Return the page: codes with their meanings, and the errors behind them."""
    codes = table(("code", "meaning"), [(f"`{code}`", words) for code, words in MEANING.items()])
    rows = [(f"`{one.__name__}`", f"`{one.exit_code}`", (one.__doc__ or "").strip().split("\n\n")[0])
            for one in kinds()]  # fmt: skip
    return INTRODUCTION + codes + "\n## Errors\n\n" + table(("error", "code", "when"), rows)


def kinds() -> list[type[errors.AvihError]]:
    """List the errors of the program, in the order of their codes."""
    found = [
        one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.AvihError)
    ]
    return sorted(found[1:], key=lambda one: one.exit_code)
