"""All parsers by name."""

from typing import Final

from benchmarks.fuzz import plain, records, sealed
from benchmarks.fuzz.parser import Parser

PARSERS: Final[dict[str, Parser]] = {
    parser.name: parser for parser in (*plain.PARSERS, *records.PARSERS, *sealed.PARSERS)
}
