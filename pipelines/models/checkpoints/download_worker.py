"""A process of its own that downloads one model's files by huggingface_hub.

In a process of its own a download can be ended at any moment, a connection that hangs holds
nothing, and the page stays offline. It reads one JSON line, then ends when its standard input does;
it writes a JSON line for each thing that happens. Checked files lie in the staging folder
afterwards; what was cut off lies there as a part, and the next download resumes at its end.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.core.errors import WeightsError
from pipelines.core.sentences import Sentence
from pipelines.models.checkpoints.shards import INDEX, is_shard

MARGIN_BYTES = 64 * 2**20  # left free on the disk
CHUNK_BYTES = 2**18
REPORT_BYTES = 2**20
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STRANGE = ("The hub at {} answered with something that is not a model's data, a web page perhaps; "
           "look at HF_ENDPOINT and at whether this network asks for a login.")


@dataclass(frozen=True)
class Wanted:
    """A file to download; sizes and hashes are None where nobody knows them yet."""

    name: str
    size_bytes: int | None
    sha256: str | None
    optional: bool


def emit(event: str, **facts: Any) -> None:
    """Tell the other process."""
    print(json.dumps({"event": event, **facts}), flush=True)


class ProgressBar:
    """Stands in for a progress bar: huggingface_hub calls it for every chunk."""

    callback: Callable[[int], None] = staticmethod(lambda count: None)

    def __init__(self, **_: Any) -> None:
        pass

    def update(self, count: float | None = 1) -> None:
        """Take in the bytes of a chunk; negative ones where a server starts again."""
        type(self).callback(int(count or 0))

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Fetcher:
    """Downloads files of one repository.

    Args:
        repository: "OWNER/NAME".
        revision: branch, tag or commit.
        staging: folder for parts and finished files.
        timeout_s: how long the hub may be silent before it answers.
    """

    def __init__(self, repository: str, revision: str, staging: Path, timeout_s: float) -> None:
        from huggingface_hub import constants

        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES  # a part on the disk is never far behind
        self.repository, self.staging, self.timeout_s = repository, staging, timeout_s
        self.endpoint = constants.ENDPOINT
        self.done_bytes, self._told_bytes, self.total_bytes = 0, 0, 0
        self.commit, self._listed = self._look_up(revision)

    @property
    def host(self) -> str:
        """The hub's name for people."""
        return urlsplit(self.endpoint).netloc or self.endpoint

    def _look_up(self, revision: str) -> tuple[str, dict[str, tuple[int | None, str | None]]]:
        """Commit of a revision, and size and SHA-256 of its files as far as the hub says them."""
        from huggingface_hub import HfApi

        info = HfApi(endpoint=self.endpoint).model_info(
            self.repository, revision=revision, files_metadata=True, timeout=self.timeout_s)
        if not isinstance(info.sha, str) or not info.siblings:
            raise WeightsError("The hub at {} lists no files for {}.", self.host, self.repository)
        return info.sha, {
            s.rfilename: (s.size, s.lfs.sha256 if s.lfs is not None else None)
            for s in info.siblings}

    def plan(self, wanted: list[Wanted]) -> list[Wanted]:
        """What to download, with sizes and hashes from the hub where none are pinned.

        Raises:
            WeightsError: a file is missing or is not the pinned one, or the disk is too small.
        """
        found = []
        for file in (part for each in wanted for part in self._in_shards(each)):
            if file.name not in self._listed:
                if file.optional:
                    continue
                raise WeightsError("The hub has no file {} in {}.", file.name, self.repository)
            size_bytes, sha256 = self._listed[file.name]
            if file.sha256 and sha256 and file.sha256 != sha256:
                raise WeightsError("The hub's {} in {} is not the one that is pinned: its SHA-256 "
                                   "differs, so it is not downloaded.", file.name, self.repository)
            found.append(Wanted(file.name, size_bytes if size_bytes is not None
                                else file.size_bytes, file.sha256 or sha256, file.optional))
        self.total_bytes = sum(file.size_bytes or 0 for file in found)
        here = sum(path.stat().st_size for path in self.staging.rglob("*") if path.is_file())
        free = shutil.disk_usage(self.staging).free
        if self.total_bytes - here + MARGIN_BYTES > free:
            raise WeightsError("The download of {} needs {:.2f} GB, and the disk has {:.2f} GB "
                               "free.", self.repository, self.total_bytes / 1e9, free / 1e9)
        return found

    def _in_shards(self, file: Wanted) -> list[Wanted]:
        """The index and the shards that the repository has in a file's place; else the file."""
        index = file.name + INDEX
        if file.name in self._listed or index not in self._listed:
            return [file]
        shards = sorted(name for name in self._listed if is_shard(file.name, name))
        return [Wanted(name, None, None, file.optional) for name in (index, *shards)]

    def fetch(self, file: Wanted) -> tuple[int, str]:
        """Download a file to the staging folder; returns its size and SHA-256."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(self.repository, file.name, revision=self.commit, endpoint=self.endpoint)
        facts = get_hf_file_metadata(url, timeout=self.timeout_s, endpoint=self.endpoint)
        if facts.commit_hash != self.commit or not facts.etag:
            raise WeightsError(STRANGE, self.host)
        headers = build_hf_headers()
        if urlsplit(facts.location).netloc != urlsplit(url).netloc:
            headers.pop("authorization", None)  # a token is for the hub, not for its storage
        part = self._part(file.name, facts.etag)
        resumed = part.stat().st_size if part.exists() else 0
        size_bytes = facts.size if facts.size is not None else file.size_bytes
        if size_bytes is not None and resumed > size_bytes:
            part.unlink()
            resumed = 0
        self._advance(resumed, force=True)
        ProgressBar.callback = self._advance
        with part.open("ab") as target:
            http_get(facts.location, target, resume_size=resumed, headers=headers,
                     expected_size=size_bytes, tqdm_class=ProgressBar)  # type: ignore[arg-type]
        self._advance(0, force=True)
        sha256 = self._hash(part)
        final = self.staging / file.name
        os.replace(part, final)
        return final.stat().st_size, sha256

    def _part(self, name: str, etag: str) -> Path:
        """Where a file grows; parts of other versions of it are removed."""
        tag = hashlib.sha256(etag.encode()).hexdigest()[:12]
        part = self.staging / f"{name}.{tag}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        for old in part.parent.glob(f"{Path(name).name}.*.part"):
            if old != part:
                old.unlink()
        return part

    def _advance(self, count: int, force: bool = False) -> None:
        self.done_bytes += count
        if force or abs(self.done_bytes - self._told_bytes) >= REPORT_BYTES:
            self._told_bytes = self.done_bytes
            emit("progress", done_bytes=self.done_bytes, total_bytes=self.total_bytes)

    @staticmethod
    def _hash(path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for number, block in enumerate(iter(lambda: file.read(2**22), b"")):
                digest.update(block)
                if number % 16 == 0:
                    emit("checking")
        return digest.hexdigest()


def failure(error: BaseException, repository: str, host: str) -> Sentence:
    """What went wrong, as a sentence."""
    from huggingface_hub import errors
    from huggingface_hub.utils import HfHubHTTPError

    if isinstance(error, WeightsError):
        return error.sentence
    if isinstance(error, errors.RevisionNotFoundError):
        return Sentence("The hub has no such revision of {}.", repository)
    if isinstance(error, errors.EntryNotFoundError):
        return Sentence("The hub does not have every file of {} that the catalogue lists.",
                        repository)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return Sentence("The hub does not let this machine read {}: it does not exist, or "
                            "needs a token in HF_TOKEN and its terms accepted (status {}).",
                            repository, status)
        if status == 404:
            return Sentence("The hub has no repository called {}.", repository)
        return Sentence("The hub at {} failed with status {}; try again later.", host, status)
    return _local_failure(error, repository, host)


def _local_failure(error: BaseException, repository: str, host: str) -> Sentence:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return Sentence("The hub at {} stopped answering; what came so far is kept, and the next "
                        "download goes on from there.", host)
    if isinstance(error, httpx2.TransportError):
        return Sentence("The hub at {} cannot be reached; look at the network and at HF_ENDPOINT.",
                        host)
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return Sentence("The disk is full: the download of {} was ended.", repository)
    if isinstance(error, OSError) and "Consistency check" in str(error):
        return Sentence("A file of {} came cut short or too long; try again, the download goes on "
                        "from there.", repository)
    if isinstance(error, ValueError | TypeError | AttributeError | KeyError):
        return Sentence(STRANGE, host)
    return Sentence("The download of {} failed: {}.", repository, type(error).__name__)


def _end_with_parent(lines: Iterator[str]) -> None:
    """End this process when the one that started it closes the pipe or is gone."""
    for _ in lines:
        pass
    os._exit(1)


def run(job: dict[str, Any]) -> None:
    """Download the files of a job; its fields are those of ``checkpoints.downloads``."""
    from filelock import Timeout
    from huggingface_hub import logging
    from huggingface_hub.utils import WeakFileLock

    logging.set_verbosity_error()
    emit("ready")
    staging = Path(job["staging"])
    staging.mkdir(parents=True, exist_ok=True)
    try:
        with WeakFileLock(staging / ".lock", timeout=0.1):
            fetcher = Fetcher(job["repository"], job["revision"], staging, job["timeout_s"])
            files = fetcher.plan([Wanted(**file) for file in job["files"]])
            emit("plan", commit=fetcher.commit, total_bytes=fetcher.total_bytes)
            for file in files:
                size_bytes, sha256 = fetcher.fetch(file)
                emit("file", name=file.name, size_bytes=size_bytes, sha256=sha256,
                     expected=file.sha256)
    except Timeout:
        raise WeightsError("Another Easel downloads {} already.", job["repository"]) from None


def main() -> int:
    """Do the job that standard input describes."""
    lines = iter(sys.stdin.readline, "")
    job = json.loads(next(lines))
    threading.Thread(target=_end_with_parent, args=(lines,), daemon=True).start()
    try:
        run(job)
    except Exception as error:
        from huggingface_hub import constants

        host = urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT
        said = failure(error, job["repository"], host)
        emit("error", template=said.template, values=said.values, detail=repr(error)[:500])
        return 1
    emit("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
