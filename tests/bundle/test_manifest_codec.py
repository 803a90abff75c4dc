"""The manifest as a document: what goes in comes out, equal values are equal bytes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bundle.publishers import Publisher
from wherry.core.codec import from_json, to_json
from wherry.core.digest import FileRef
from wherry.core.errors import DocumentError
from wherry.core.manifest import MANIFEST_SCHEMA, DeploymentProfile, Manifest

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
files = st.builds(FileRef, path=names, size=st.integers(0, 2**53), sha256=digests)
profiles = st.builds(
    DeploymentProfile,
    name=names,
    device_type=st.sampled_from(["cpu", "gpu", "mps"]),
    model_file=names,
    supported_os=st.lists(st.sampled_from(["windows", "macos", "linux"]), max_size=3).map(tuple),
    optimization=names,
    target=names,
    requires=st.dictionaries(names, names, max_size=2),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Publisher(Path(tmp_path_factory.mktemp("site"))).packed().manifest


@settings(max_examples=25, deadline=None)
@given(
    product=names,
    release=st.integers(1, 2**53),
    golden=files,
    companions=st.lists(files, max_size=3).map(tuple),
    deployed=st.lists(profiles, max_size=3).map(tuple),
    metrics=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    notes=names,
    keep=st.integers(0, 2),
)
def test_a_manifest_survives_the_journey(manifest: Manifest, keep: int, **drawn: object) -> None:
    drawn["profiles"] = drawn.pop("deployed")
    value = replace(manifest, entries=manifest.entries[:keep], **drawn)
    data = to_json(value)
    again = from_json(data, Manifest, what="the manifest", schema=MANIFEST_SCHEMA)
    assert again == value
    assert to_json(again) == data


@given(st.binary(max_size=60))
def test_bytes_that_are_no_manifest_give_one_sentence(data: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        from_json(data, Manifest, what="the manifest", schema=MANIFEST_SCHEMA)
    assert caught.value.message.startswith("the manifest ")


def test_every_cut_of_a_manifest_is_refused(manifest: Manifest) -> None:
    data = to_json(manifest)
    for length in range(0, len(data) - 2, 29):
        with pytest.raises(DocumentError):
            from_json(data[:length], Manifest, what="the manifest", schema=MANIFEST_SCHEMA)
