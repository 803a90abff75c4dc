"""The registry: one object over the database and the blobs; every method is one transaction."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any, Self

from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, NotFoundError, StorageError
from wherry.core.model import Event, Version, VersionDraft, VersionRef, check_name
from wherry.core.report import Measurement, Report
from wherry.core.variant import Variant
from wherry.registry import aliases, documents, events, releases, versions
from wherry.registry.audit import audit
from wherry.registry.blobs import BlobStore
from wherry.registry.database import FILE_NAME, Database


class Registry:
    """Versions, aliases, events, variants and blobs in a folder.

    The folder holds `registry.sqlite`, `blobs/`, `cache/` (free for others to use and to delete) and `models/` (the
    readable tree). Threads and processes may share a registry: writers queue, readers do not wait. An object must not
    be carried through a `fork`; open another one in the child.

    Every method may raise `StorageError` (the folder cannot be used), `BusyError` (another process wrote for too long)
    or `BadInputError` (the database is damaged).
    """

    def __init__(self, root: Path, database: Database, blobs: BlobStore) -> None:
        """Use `Registry.open`."""
        self.root = root
        self._database = database
        self._blobs = blobs

    @classmethod
    def open(cls, root: Path, *, create: bool = True) -> Self:
        """Open the registry in the folder `root`, making it or bringing its schema up to date where that is needed.

        Raises:
            NotFoundError: there is none and `create` is false.
            BadInputError: the folder holds something else, or a registry of a newer wherry.
            StorageError: the folder cannot be made or written.
        """
        root = root.absolute()
        if not create and not (root / FILE_NAME).is_file():
            msg = f"There is no registry in {root}."
            raise NotFoundError(msg, next_step="Register a version first, or name the folder of a registry.")
        try:
            with ExitStack() as undo:
                root.mkdir(parents=True, exist_ok=True)
                # First, as it refuses a folder that is somebody else's before anything else is made in it.
                database = Database(root)
                undo.callback(database.close)
                for name in ("cache", "models"):
                    (root / name).mkdir(exist_ok=True)
                opened = cls(root, database, BlobStore(root / "blobs"))
                undo.pop_all()
                return opened
        except OSError as error:
            msg = f"{root} cannot be used as the folder of a registry: {error.strerror}."
            raise StorageError(msg, next_step="Name a folder that can be written.") from error

    def close(self) -> None:
        """Let go of the database; the object is of no use afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Blobs

    def put_bytes(self, path: str, data: bytes) -> FileRef:
        """Store `data`; see `BlobStore.put_bytes`."""
        return self._blobs.put_bytes(path, data)

    def put_file(self, file: Path, path: str | None = None) -> FileRef:
        """Store a file, streamed; see `BlobStore.put_file`."""
        return self._blobs.put_file(file, path)

    def read(self, sha256: str) -> bytes:
        """Return a blob's bytes, verified; see `BlobStore.read`."""
        return self._blobs.read(sha256)

    def blob_path(self, sha256: str) -> Path:
        """Return where a blob lies, for reading only and not verified here; see `BlobStore.path`."""
        return self._blobs.path(sha256)

    def materialize(self, files: tuple[FileRef, ...], folder: Path) -> Path:
        """Lay verified blobs under their names into `folder` and return the main file; see `BlobStore.materialize`."""
        return self._blobs.materialize(files, folder)

    # Versions

    def register(self, draft: VersionDraft, *, who: str, why: str) -> Version:
        """Give the draft the model's next number, or return the version that was registered with the same content.

        The same content: program, golden set, spec, data set and architecture. The semantic version is derived from
        what changed since the version before (contract row P7).

        Raises:
            BadInputError: the model's name cannot be used, a blob that the draft names is not in the store, the draft
                holds what JSON cannot carry, or `who` or `why` is blank.
        """
        check_name(draft.model, "a model")
        self._check_blobs(draft.files, f"The draft of {draft.model}")
        event = events.draft("registered", draft.model, 0, who=who, why=why)
        with self._database.write() as connection:
            same = versions.find_same(connection, draft)
            if same is not None:
                return same
            version = versions.insert(connection, draft)
            events.append(connection, replace(event, version=version.number, at=version.created_at))
            return version

    def find_same(self, draft: VersionDraft) -> Version | None:
        """Return the version that `register` would return instead of making a new one, or None."""
        with self._database.read() as connection:
            return versions.find_same(connection, draft)

    def version(self, ref: VersionRef | str) -> Version:
        """Return the version that `NAME@v2` or `NAME@alias` means now.

        Raises:
            UsageError: the text is neither.
            NotFoundError: no such model, version or alias; the next step names what there is.
        """
        parsed = VersionRef.parse(ref) if isinstance(ref, str) else ref
        with self._database.read() as connection:
            return versions.get(connection, parsed.model, versions.resolve(connection, parsed))

    def models(self) -> list[str]:
        """Return the models' names in alphabetical order."""
        with self._database.read() as connection:
            return versions.names(connection)

    def versions(self, model: str, *, before: int | None = None, limit: int = 50) -> list[Version]:
        """Return a page of versions, newest first; the next page starts `before` the last number of this one.

        Raises:
            NotFoundError: no such model.
            BadInputError: the limit is smaller than one.
        """
        with self._database.read() as connection:
            return versions.page(connection, model, before=before, limit=limit)

    # Aliases and history

    def promote(
        self, ref: VersionRef | str, alias: str, *, who: str, why: str, expected: int | EllipsisType | None = ...
    ) -> Event:
        """Point `alias` at a version: compare and swap.

        Nothing is written where it points there already; the event that moved it there is returned.

        Args:
            ref: the version, by number or by another alias.
            alias: the name to move.
            who: who decided it.
            why: the reason; must not be empty.
            expected: the number that the alias must point at before, None if it must not exist yet; left out, whatever
                it points at now.

        Raises:
            NotFoundError: no such model, version or alias in `ref`.
            BadInputError: `alias` is not a name, or `who` or `why` is blank.
            ConflictError: the alias does not point at `expected`; nothing was written.
        """
        parsed = VersionRef.parse(ref) if isinstance(ref, str) else ref
        with self._database.write() as connection:
            version = versions.get(connection, parsed.model, versions.resolve(connection, parsed))
            return aliases.promote(
                connection, version.model, version.number, alias, who=who, why=why, expected=expected
            )

    def rollback(self, model: str, alias: str, *, who: str, why: str) -> Event:
        """Point `alias` at what was live before; again and again walks further back and never forth.

        Raises:
            NotFoundError: no such model or alias.
            RefusedError: nothing was live before.
            BadInputError: `who` or `why` is blank.
        """
        with self._database.write() as connection:
            versions.check_model(connection, model)
            return aliases.rollback(connection, model, alias, who=who, why=why)

    def aliases(self, model: str) -> dict[str, int]:
        """Return every alias of the model and the number it points at.

        Raises:
            NotFoundError: no such model.
        """
        with self._database.read() as connection:
            versions.check_model(connection, model)
            return aliases.current(connection, model)

    def alias_at(self, model: str, alias: str, at: str) -> int | None:
        """Return what the alias pointed at then, or None if it did not exist yet.

        Args:
            model: the model.
            alias: the alias.
            at: ISO 8601; a time without a zone is taken as UTC.

        Raises:
            NotFoundError: no such model.
            BadInputError: `at` is not a time.
        """
        moment = events.parse_instant(at)
        with self._database.read() as connection:
            versions.check_model(connection, model)
            return aliases.live_at(connection, model, alias, moment)

    def events(self, model: str | None = None, *, before: int | None = None, limit: int = 100) -> list[Event]:
        """Return a page of history, newest first; the next page starts `before` the last `seq` of this one.

        Raises:
            NotFoundError: no such model.
            BadInputError: the limit is smaller than one.
        """
        with self._database.read() as connection:
            if model is not None:
                versions.check_model(connection, model)
            return events.page(connection, model, before=before, limit=limit)

    def next_release(
        self, product: str, model: str, version: int, *, who: str, why: str, details: dict[str, Any] | None = None
    ) -> Event:
        """Count up the product's releases; `details["release"]` of the returned event is the new number.

        Raises:
            NotFoundError: no such model or version.
            BadInputError: the product's name cannot be used, the details hold what JSON cannot carry, or `who` or
                `why` is blank.
        """
        check_name(product, "a product")
        event = events.draft("released", model, version, who=who, why=why, details=details)
        with self._database.write() as connection:
            versions.get(connection, model, version)
            return releases.append_next(connection, product, event)

    # Documents of a version

    def put_variant(self, variant: Variant) -> None:
        """Make `variant` the present one for its version and target; older ones stay in the history.

        Raises:
            NotFoundError: no such version.
            BadInputError: it was made from other content than that version's, one of its blobs is not in the store, or
                it holds what JSON cannot carry.
        """
        self._check_blobs(variant.files, f"The variant {variant.name}")
        with self._database.write() as connection:
            documents.put_variant(connection, variant)

    def variants(self, model: str, number: int) -> list[Variant]:
        """Return the newest variant of each target, in the order of the targets' names.

        Raises:
            NotFoundError: no such model or version.
        """
        with self._database.read() as connection:
            return documents.present_variants(connection, model, number)

    def variant(self, model: str, number: int, target_name: str) -> Variant:
        """Return the newest variant of that target.

        Raises:
            NotFoundError: no such model or version, or it has no such variant; the next step names those it has.
        """
        with self._database.read() as connection:
            return documents.present_variant(connection, model, number, target_name)

    def put_report(self, variant: Variant, report: Report) -> None:
        """Keep what a proof found about `variant`; the same report again changes nothing.

        Raises:
            BadInputError: the report is about another variant, the variant is not in the registry, or the report holds
                what JSON cannot carry.
        """
        if report.variant != variant.digest:
            msg = f"The report on {report.target} is about another variant than the {variant.name} it came with."
            raise BadInputError(msg, next_step="Prove the variant again and keep that report.")
        with self._database.write() as connection:
            documents.put_report(connection, report)

    def reports(self, variant_digest: str) -> list[Report]:
        """Return the reports on the variant with that digest, newest first."""
        with self._database.read() as connection:
            return documents.reports_of(connection, variant_digest)

    def put_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement; the same measurement again changes nothing.

        Raises:
            BadInputError: its variant is not in the registry, or it holds what JSON cannot carry.
        """
        with self._database.write() as connection:
            documents.put_measurement(connection, measurement)

    def measurements(self, variant_digest: str) -> list[Measurement]:
        """Return the measurements of the variant with that digest, newest first."""
        with self._database.read() as connection:
            return documents.measurements_of(connection, variant_digest)

    # The whole

    def verify(self, *, deep: bool = False) -> list[str]:
        """Return one sentence for each thing that is not as it must be; an empty list is a sound registry.

        Checked are the aliases against the fold over the events, the events' own chain, the digest of every version
        and variant, and that every blob they name is there; `deep` also reads every blob and compares its digest.
        """
        with self._database.read() as connection:
            return audit(connection, self._blobs, deep=deep)

    def _check_blobs(self, files: tuple[FileRef, ...], what: str) -> None:
        for ref in files:
            if not self._blobs.holds(ref):
                msg = f"{what} names {ref.path}, which is not in the registry's blobs."
                raise BadInputError(msg, next_step="Put every file into the registry first.")
