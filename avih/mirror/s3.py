"""A store on S3 or what speaks like it: every write names the state that it expects, and the server compares.

``If-None-Match: *`` makes an object only where there is none; ``If-Match: ETAG`` changes only the state that
was read. Credentials, server and region come from the environment and configuration of AWS, never from us.
"""

import contextlib
import io
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Final, NoReturn, TypeVar

from avih.errors import UsageError
from avih.mirror.address import Address
from avih.mirror.remote import Changed, Lost, Seen, patiently, sha256_of

logger = logging.getLogger(__name__)

PART_BYTES: Final = 64 * 2**20  # a larger file goes in parts of this size
PAGE: Final = 1000  # objects in one piece of a list: the most that S3 gives
CHUNK_BYTES: Final = 2**20
DIGEST: Final = "avih-sha256"
# Written at the same moment by somebody else; told to slow down; the server's own trouble.
_LATER: Final = (409, 429, 500, 502, 503, 504)
_OURS: Final = (OSError, PermissionError, FileNotFoundError)  # of this machine's disk: full, say
_Answer = TypeVar("_Answer")


class S3:
    """The store at an ``s3://BUCKET/PREFIX`` address.

    Args:
        address: where.

    Raises:
        UsageError: s3fs is not installed.
    """

    def __init__(self, address: Address) -> None:
        try:
            import s3fs
        except ModuleNotFoundError:
            raise UsageError(
                "Expected the package s3fs for a store at s3://, got none. Install it: pip install 'avih[s3]'"
            ) from None
        # One layer alone tries again: ours, which knows what a second try of a conditional write means.
        self.files: Any = s3fs.S3FileSystem(
            use_listings_cache=False,
            config_kwargs={"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60},
        )  # fmt: skip
        self.files.retries = 1
        self.bucket, _, prefix = address.path.partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self._warned = False

    def list(self, prefix: str) -> tuple[dict[str, Seen], bool]:
        """See :class:`avih.mirror.remote.Remote`."""
        found: dict[str, Seen] = {}
        more: dict[str, Any] = {}
        pages = 0
        while True:
            page = self._ask(
                "list_objects_v2", None, f"list {prefix or 'everything'}", Prefix=self.prefix + prefix,
                MaxKeys=PAGE, **more,
            )  # fmt: skip
            pages += 1
            for one in page.get("Contents", ()):
                name = one["Key"].removeprefix(self.prefix)
                found[name] = Seen(one["ETag"].strip('"'), one["Size"], one["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return found, pages == 1
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def head(self, name: str) -> Seen | None:
        """See :class:`avih.mirror.remote.Remote`."""
        try:
            return _seen(self._ask("head_object", name, f"describe {name}"))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> tuple[bytes, Seen] | None:
        """See :class:`avih.mirror.remote.Remote`."""
        buffer = io.BytesIO()
        seen = self._fetch(name, lambda: (buffer.seek(0), buffer.truncate(), buffer)[-1])
        return (buffer.getvalue(), seen) if seen else None

    def get(self, name: str, target: Path) -> Seen | None:
        """See :class:`avih.mirror.remote.Remote`."""
        with target.open("wb") as file:
            return self._fetch(name, lambda: (file.seek(0), file.truncate(), file)[-1])

    def put(self, name: str, content: Path | bytes, *, expected: str | None) -> Seen:
        """See :class:`avih.mirror.remote.Remote`."""
        digest, size = sha256_of(content)
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": f'"{expected}"'}
        try:
            if isinstance(content, Path) and size > PART_BYTES:
                answer = self._put_parts(name, content, size, digest, expected, condition)
            else:
                body = content if isinstance(content, bytes) else content.read_bytes()
                answer = self._ask(
                    "put_object", name, f"write {name}", Body=body, Metadata={DIGEST: digest}, **condition
                )
        except (Changed, FileNotFoundError):
            # An answer that was lost on its way looks like this, too: then what is there is what was sent.
            now = self.head(name)
            if now is None or (now.sha256, now.size) != (digest, size):
                raise Changed(name) from None
            return now
        return Seen(answer["ETag"].strip('"'), size, 0.0, _clock(answer), digest)

    def delete(self, name: str, *, expected: str | None) -> None:
        """See :class:`avih.mirror.remote.Remote`."""
        condition = {} if expected is None else {"IfMatch": f'"{expected}"'}
        with contextlib.suppress(FileNotFoundError):
            answer = self._ask("delete_object", name, f"remove {name}", **condition)
            if answer.get("DeleteMarker") and not self._warned:
                self._warned = True
                logger.warning(
                    "Bucket %s keeps old versions of objects: what is removed can be brought back by whoever may "
                    "read versions, until a rule of the bucket ends them.", self.bucket,
                )  # fmt: skip

    def _put_parts(
        self, name: str, path: Path, size: int, digest: str, expected: str | None, condition: dict[str, str]
    ) -> Any:
        """Send a large file in parts; the object appears whole, with the last request."""
        what, total = f"write {name}", -(-size // PART_BYTES)
        begun = self._ask("create_multipart_upload", name, what, Metadata={DIGEST: digest})["UploadId"]
        try:
            parts = []
            with path.open("rb") as file:
                for number in range(1, total + 1):
                    sent = self._ask("upload_part", name, what, UploadId=begun, PartNumber=number,
                                     Body=file.read(PART_BYTES))  # fmt: skip
                    parts.append({"PartNumber": number, "ETag": sent["ETag"]})
                    logger.info("Sent part %d of %d of %s.", number, total, name)
            # Some servers compare at the end of an upload in parts only that there is nothing yet.
            now = self.head(name)
            if (now.etag if now else None) != expected:
                raise Changed(name)
            return self._ask("complete_multipart_upload", name, what, UploadId=begun,
                             MultipartUpload={"Parts": parts}, **condition)  # fmt: skip
        except BaseException:
            with contextlib.suppress(Exception):
                self.files.call_s3(
                    "abort_multipart_upload", Bucket=self.bucket, Key=self.prefix + name, UploadId=begun
                )
            raise

    def _fetch(self, name: str, target: Callable[[], IO[bytes]]) -> Seen | None:
        from fsspec.asyn import sync

        async def fetch() -> Any:
            answer = await self.files._call_s3("get_object", Bucket=self.bucket, Key=self.prefix + name)
            file, got = target(), 0
            async with answer["Body"] as body:
                while chunk := await body.read(CHUNK_BYTES):
                    got += file.write(chunk)
            if got != answer["ContentLength"]:
                raise Lost(f"{got} of {answer['ContentLength']} bytes came")
            return answer

        try:
            return _seen(self._tried(lambda: sync(self.files.loop, fetch), f"read {name}"))
        except FileNotFoundError:
            return None

    def _ask(self, method: str, name: str | None, what: str, **more: Any) -> Any:
        place = {"Bucket": self.bucket} | ({} if name is None else {"Key": self.prefix + name})
        return self._tried(lambda: self.files.call_s3(method, **place, **more), what)

    def _tried(self, request: Callable[[], _Answer], what: str) -> _Answer:
        def tried() -> _Answer:
            try:
                return request()
            except (Lost, Changed):
                raise
            except Exception as error:
                self._translate(error, what)

        return patiently(tried, what=what)

    def _translate(self, error: Exception, what: str) -> NoReturn:
        """Say in our words what S3 said: its own may hold more than we want to show."""
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

        said = [getattr(one, "response", None) for one in (error, error.__cause__)]
        answer: dict[str, Any] = next((one for one in said if isinstance(one, dict)), {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = answer.get("Error", {}).get("Code", "")
        if code == "NoSuchBucket":
            raise UsageError(
                f"Expected a bucket {self.bucket}, got none of that name. Make it, or correct --store."
            ) from None
        if status == 412:
            raise Changed(what) from None
        if status == 404:
            raise FileNotFoundError(what) from None
        if status in (401, 403) or isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise UsageError(
                f"Expected to be allowed to {what} in bucket {self.bucket}, got "
                f"{code or type(error).__name__}. Check the credentials and rights in the environment or the "
                "configuration of AWS."
            ) from None
        if status is None and type(error) in _OURS:
            raise error
        if status in _LATER:
            raise Lost(code or str(status)) from None
        if _is_transport(error) or (status is None and isinstance(error, BotoCoreError | OSError)):
            raise Lost(type(error).__name__) from None
        raise UsageError(
            f"Expected bucket {self.bucket} to {what}, got {code or type(error).__name__}. If the server "
            "does not know conditional writes (If-Match, If-None-Match), it cannot hold a store."
        ) from error


def _is_transport(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("aiohttp", "asyncio", "fsspec")


def _seen(answer: Any) -> Seen:
    return Seen(
        answer["ETag"].strip('"'), answer["ContentLength"], answer["LastModified"].timestamp(), _clock(answer),
        answer.get("Metadata", {}).get(DIGEST, ""),
    )  # fmt: skip


def _clock(answer: Any) -> float:
    """Return the server's time: clocks of machines jump and differ."""
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return (parsedate_to_datetime(text) if text else datetime.now(UTC)).timestamp()
