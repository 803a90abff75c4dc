"""Versions: immutable, numbered without gaps, and the same content only once."""

import difflib
from dataclasses import replace

import sqlalchemy as sa

from wherry.core.codec import document_digest
from wherry.core.errors import NotFoundError
from wherry.core.model import Version, VersionDraft, VersionRef
from wherry.registry import aliases
from wherry.registry.events import now
from wherry.registry.paper import check_limit, read_back, write_down
from wherry.registry.schema import models, versions

_NAMES_SHOWN = 10


def content_digest(draft: VersionDraft | Version) -> str:
    """Return the digest of what makes two registrations the same version."""
    return document_digest(
        [draft.program.sha256, draft.golden.sha256, draft.spec, draft.lineage.dataset, draft.architecture]
    )


def find_same(connection: sa.Connection, draft: VersionDraft) -> Version | None:
    """Return the version of that model that was registered with the same content, or None."""
    query = sa.select(versions.c.document).where(
        versions.c.model == draft.model, versions.c.content == content_digest(draft)
    )
    text = connection.execute(query).scalar_one_or_none()
    return None if text is None else _version(text)


def insert(connection: sa.Connection, draft: VersionDraft) -> Version:
    """Write the draft as the model's next version. The connection holds the write lock.

    Raises:
        BadInputError: the draft holds what JSON cannot carry.
    """
    last = latest(connection, draft.model)
    if last is None:
        connection.execute(models.insert().values(name=draft.model))
    version, text = write_down(_numbered(draft, last), Version, f"the version of {draft.model}")
    row = {
        "model": version.model,
        "number": version.number,
        "semantic_version": version.semantic_version,
        "digest": version.digest,
        "content": content_digest(draft),
        "created_at": version.created_at,
        "document": text,
    }
    connection.execute(versions.insert().values(**row))
    return version


def latest(connection: sa.Connection, model: str) -> Version | None:
    """Return the version with the highest number, or None for a model that does not exist."""
    found = _page(connection, model, before=None, limit=1)
    return found[0] if found else None


def get(connection: sa.Connection, model: str, number: int) -> Version:
    """Return one version.

    Raises:
        NotFoundError: no such model or no such version; the next step names what there is.
    """
    query = sa.select(versions.c.document).where(versions.c.model == model, versions.c.number == number)
    text = connection.execute(query).scalar_one_or_none()
    if text is not None:
        return _version(text)
    check_model(connection, model)
    last = latest(connection, model)
    msg = f"{model} has no version v{number}."
    raise NotFoundError(msg, next_step=f"It has v1 to v{last.number if last else 0}.")


def resolve(connection: sa.Connection, ref: VersionRef) -> int:
    """Return the number that the reference means now.

    Raises:
        NotFoundError: no such model or alias; the next step names what there is.
    """
    if ref.number is not None:
        return ref.number
    check_model(connection, ref.model)
    return aliases.resolve(connection, ref.model, ref.alias or "")


def page(connection: sa.Connection, model: str, *, before: int | None, limit: int) -> list[Version]:
    """Return versions, newest first.

    Raises:
        NotFoundError: no such model.
        BadInputError: the limit is smaller than one.
    """
    found = _page(connection, model, before=before, limit=check_limit(limit))
    if not found:
        check_model(connection, model)
    return found


def names(connection: sa.Connection) -> list[str]:
    """Return the models' names in alphabetical order."""
    return list(connection.execute(sa.select(models.c.name).order_by(models.c.name)).scalars())


def check_model(connection: sa.Connection, model: str) -> None:
    """Refuse a model that does not exist.

    Raises:
        NotFoundError: it does not exist; the next step names the closest ones.
    """
    if connection.execute(sa.select(models.c.name).where(models.c.name == model)).one_or_none() is not None:
        return
    known = names(connection)
    near = difflib.get_close_matches(model, known, n=_NAMES_SHOWN, cutoff=0.5) or known[:_NAMES_SHOWN]
    msg = f"There is no model {model!r} in this registry."
    raise NotFoundError(
        msg, next_step=f"There is {', '.join(near)}." if near else "The registry is empty: register a version first."
    )


def semantic_version(draft: VersionDraft, last: Version | None) -> str:
    """Derive the semantic version from what changed since the last one (contract row P7).

    Major: the architecture, or the inputs or outputs. Minor: the training data. Patch: anything else.
    """
    if last is None:
        return "1.0.0"
    major, minor, patch = (int(part) for part in last.semantic_version.split("."))
    before = (last.architecture, last.spec.inputs, last.spec.outputs)
    if (draft.architecture, draft.spec.inputs, draft.spec.outputs) != before:
        return f"{major + 1}.0.0"
    if draft.lineage.dataset != last.lineage.dataset:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def sealed(version: Version) -> str:
    """Return the digest that the version must carry: that of its document with an empty `digest`."""
    return document_digest(replace(version, digest=""))


def _numbered(draft: VersionDraft, last: Version | None) -> Version:
    open_version = Version(
        model=draft.model,
        number=1 if last is None else last.number + 1,
        semantic_version=semantic_version(draft, last),
        created_at=now(),
        spec=draft.spec,
        program=draft.program,
        checkpoint=draft.checkpoint,
        golden=draft.golden,
        lineage=draft.lineage,
        metrics=draft.metrics,
        architecture=draft.architecture,
        tools=draft.tools,
        evaluation=draft.evaluation,
        digest="",
    )
    plain, _ = write_down(open_version, Version, f"the version of {draft.model}")
    return replace(plain, digest=sealed(plain))


def _page(connection: sa.Connection, model: str, *, before: int | None, limit: int) -> list[Version]:
    query = (
        sa.select(versions.c.document).where(versions.c.model == model).order_by(versions.c.number.desc()).limit(limit)
    )
    if before is not None:
        query = query.where(versions.c.number < before)
    return [_version(text) for text in connection.execute(query).scalars()]


def _version(text: str) -> Version:
    return read_back(text, Version, "a version in the registry")
