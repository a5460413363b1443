"""The run store: a directory for each run key, whose `result.json`, written last, is the only truth about the run.

What is measured of a run is kept beside it, a record for each evaluation, written whole or not at all: `evaluations/KEY.json`.

Leases are files created exclusively: `lease.0`, and `lease.1` to take over a `lease.0` whose owner is gone, and so
on; of two that take over at once only one can create the next number. No file locks, so it works on shared disks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from mixlang.documents import RunResult, Score
from mixlang.errors import MixlangError, WriteError, disk_full, is_full
from mixlang.files import write_json
from mixlang.hardware import place
from runners.execute.faults import Cause, Fault, cause_of, reason_of
from runners.execute.liveness import alive, me

_STALE_AFTER = 60.0
"""Seconds without a heartbeat after which the lease of another machine or container counts as abandoned."""


@dataclass(frozen=True)
class Heartbeat:
    """How a run in progress is doing.

    Attributes:
        fraction: of its optimizer steps that are done.
        loss: mean training loss since the heartbeat before; None before the first step.
        speed: samples a second since then.
    """

    fraction: float = 0.0
    loss: float | None = None
    speed: float = 0.0


@dataclass(frozen=True)
class RunStore:
    """The results of all runs below a folder."""

    root: Path

    def folder(self, key: str) -> Path:
        """Where a run keeps its files."""
        return self.root / "runs" / key[:2] / key

    def result(self, key: str) -> RunResult | None:
        """A finished run's result, or None. A file that cannot be read (a failing disk) counts as not finished.

        One in the trash counts: it comes back as soon as somebody asks for it.
        """
        for folder in (self.folder(key), self.trash(key)):
            try:
                value = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(value, dict) and value.get("key") == key:
                return value
        return None

    def finish(self, key: str, result: RunResult) -> None:
        """Declare a run finished; everything else it wrote must be on disk by then. Its checkpoints are dropped."""
        write_json(self.folder(key) / "result.json", {**result, "key": key})
        for path in (*self.checkpoints(key), *self.folder(key).glob("diverged-*.safetensors")):
            path.unlink(missing_ok=True)

    def weights(self, key: str) -> Path:
        """The file of a finished run's weights."""
        return self.folder(key) / "model.safetensors"

    def has_weights(self, key: str) -> bool:
        """Whether a run is finished and its weights are there, in its folder or in the trash."""
        if self.result(key) is None:
            return False
        return any((folder / "model.safetensors").is_file() for folder in (self.folder(key), self.trash(key)))

    def forget_result(self, key: str) -> None:
        """Take back that a run is finished, so that it is trained again; what was measured of it stays."""
        (self.folder(key) / "result.json").unlink(missing_ok=True)

    def score(self, key: str, evaluation: str) -> Score | None:
        """The record of an evaluation of a run, or None. A file that cannot be read counts as not there."""
        for folder in (self.folder(key), self.trash(key)):
            try:
                value = json.loads((folder / "evaluations" / f"{evaluation}.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(value, dict) and isinstance(value.get("loss"), float):
                return value
        return None

    def record(self, key: str, evaluation: str, score: Score) -> None:
        """Keep the record of an evaluation of a run."""
        write_json(self.folder(key) / "evaluations" / f"{evaluation}.json", score)

    def checkpoints(self, key: str) -> list[Path]:
        """The checkpoints an unfinished run has left, newest first."""
        return sorted(self.folder(key).glob("checkpoint-*.safetensors"), reverse=True)

    def fail(self, key: str, fault: Fault) -> None:
        """Note what ended an attempt at a run; the next attempt takes the note away."""
        document = {"key": key, "reason": fault.reason, "cause": fault.cause, "full": fault.full}
        write_json(self.folder(key) / "failure.json", document)

    def fail_with(self, key: str, error: Exception) -> None:
        """Note, and say in the log that is standard error, which exception ended an attempt at a run."""
        with contextlib.suppress(MixlangError):  # a full disk: the sweep finds it full itself
            self.fail(key, Fault(cause_of(error), reason_of(error), is_full(error)))
        with contextlib.suppress(OSError):  # the log is on the same disk
            traceback.print_exception(error)

    def failure(self, key: str) -> Fault | None:
        """What ended the last attempt at a run, as it said itself, or None."""
        try:
            value = json.loads((self.folder(key) / "failure.json").read_text(encoding="utf-8"))
            cause: Cause = "machine" if value.get("cause") == "machine" else "run"
            return Fault(cause, str(value["reason"]), value.get("full") is True)
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def forget_failure(self, key: str) -> None:
        """Take the note of the last attempt away, before another one is asked for."""
        (self.folder(key) / "failure.json").unlink(missing_ok=True)

    def log(self, key: str) -> Path:
        """The file that holds what a run has said."""
        return self.folder(key) / "log.txt"

    def heartbeat(self, key: str) -> Heartbeat:
        """How an unfinished run is doing, as it last said itself."""
        try:
            return Heartbeat(**json.loads((self.folder(key) / "progress").read_text()))
        except (OSError, ValueError, TypeError):
            return Heartbeat()

    def held(self, key: str) -> bool:
        """Whether somebody who is alive holds the lease of a run."""
        leases = sorted(self.folder(key).glob("lease.*"), key=_number)
        return bool(leases) and not self._abandoned(leases[-1])

    def claim(self, key: str) -> Lease | None:
        """Take the lease of a run, or None while somebody else holds it.

        Clears what an attempt that died has left half-written.
        """
        folder = self.folder(key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if is_full(error):
                raise disk_full(f"could not write to the run store {self.root}: {error.strerror}") from error
            raise WriteError(
                f"could not write to the run store {self.root}: {error.strerror}",
                "Mend the permissions or free disk space, then run the same command again; finished work is kept.",
            ) from error
        held = sorted(folder.glob("lease.*"), key=_number)
        if held and not self._abandoned(held[-1]):
            return None
        path = folder / f"lease.{_number(held[-1]) + 1 if held else 0}"
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            _write_owner(handle, path)
        except FileExistsError:
            return None
        except OSError as error:
            if is_full(error):
                raise disk_full(f"could not write {path}: {error.strerror}") from error
            raise WriteError(
                f"could not write {path}: {error.strerror}", "Mend the permissions, then run again."
            ) from error
        for stale in (
            folder / "failure.json",
            folder / "progress",
            *folder.glob(".*.tmp"),
            *folder.glob("evaluations/.*.tmp"),
        ):
            stale.unlink(missing_ok=True)
        return Lease(path)

    def _abandoned(self, path: Path) -> bool:
        """Whether a lease's owner is gone: at once if its processes can be seen from here, else by its heartbeat."""
        try:
            owner = json.loads(path.read_text())
            if place().items() <= owner.items():
                return not alive(owner["process"])
        except FileNotFoundError:
            return False  # just released: look again on the next round
        except (ValueError, KeyError, AttributeError):
            pass  # torn by a crash while it was written
        try:
            return self._now() - path.stat().st_mtime > _STALE_AFTER
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """The time by the clock that stamps the store's files, which need not be this machine's."""
        path = self.root / "clock"
        try:
            path.touch()
            return path.stat().st_mtime
        except OSError:  # a store that may only be read
            return time.time()

    def keys(self) -> list[str]:
        """All keys the store knows anything of."""
        return sorted(path.name for path in self.root.glob("runs/*/*") if path.is_dir())

    def forget(self, key: str) -> None:
        """Delete a run and its files, whoever asks for it."""
        shutil.rmtree(self.folder(key), ignore_errors=True)

    # The trash

    def trash(self, key: str) -> Path:
        """Where a run lies that nobody asked for any more."""
        return self.root / "trash" / key

    def trashed(self) -> list[str]:
        """The runs in the trash."""
        return sorted(path.name for path in self.root.glob("trash/[!.]*") if path.is_dir())

    def discard(self, key: str) -> bool:
        """Move a run to the trash, under its lease; False where somebody holds that, or there is nothing to move.

        Raises:
            WriteError: the store may not be changed.
        """
        folder, place = self.folder(key), self.trash(key)
        if not folder.is_dir():
            return False
        lease = self.claim(key)
        if lease is None:
            return False
        try:
            if not any(path != lease.path for path in folder.iterdir()):  # another gc has just moved what was here
                lease.release()
                with contextlib.suppress(OSError):
                    folder.rmdir()
                return False
            if (place / "result.json").exists() and not (folder / "result.json").exists():
                shutil.rmtree(folder)
                return True
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(exist_ok=True)
            folder.rename(place)
        except OSError as error:
            lease.release()
            raise WriteError(
                f"could not move run {key[:12]} to {place.parent}: {error.strerror or error}",
                "Fix the permissions, then run 'mixlang gc' again.",
            ) from error
        Lease(place / lease.path.name).release()
        return True

    def restore(self, key: str) -> None:
        """Bring a run back from the trash; what is in its folder by now goes before what comes back."""
        folder, place = self.folder(key), self.trash(key)
        with contextlib.suppress(OSError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            place.rename(folder)
            return
        for path in place.glob("*"):  # somebody has begun to train it again
            with contextlib.suppress(OSError):
                if not (folder / path.name).exists():
                    path.rename(folder / path.name)
        shutil.rmtree(place, ignore_errors=True)

    def delete_trashed(self, key: str) -> None:
        """Delete a run that is in the trash. It is whole until it is gone: somebody may just be taking it back."""
        for left in self.root.glob("trash/.*"):
            shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.trash(key).rename(self.trash(f".{key}")), ignore_errors=True)


@dataclass(frozen=True)
class Lease:
    """The right to execute one run, kept while its file is touched from time to time."""

    path: Path

    def touch(self) -> None:
        """Say that the run is alive; who holds the lease does so every few seconds."""
        with contextlib.suppress(OSError):  # a missed beat must never end a run
            os.utime(self.path)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Say how the run is doing."""
        self.touch()
        with contextlib.suppress(OSError):
            temporary = self.path.with_name("progress.new")
            temporary.write_text(json.dumps(asdict(heartbeat)))
            temporary.replace(self.path.with_name("progress"))

    def release(self) -> None:
        """Give the lease back."""
        for path in self.path.parent.glob("lease.*"):
            path.unlink(missing_ok=True)


def _write_owner(handle: int, path: Path) -> None:
    """Say in a new lease whose it is, or take it away again."""
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({**place(), "process": me()}, file)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _number(path: Path) -> int:
    suffix = path.name.rpartition(".")[2]
    return int(suffix) if suffix.isdigit() else -1
