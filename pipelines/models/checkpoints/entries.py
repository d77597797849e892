"""One model as the catalogue describes it: what it is, whose, and which files it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from pipelines.core.errors import WeightsError

# No part begins with a dot, so that no id or file name leads out of its folder.
PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, StringConstraints(pattern=rf"^{PART}(/{PART})*$", max_length=200)]
Family = Literal["clip", "vqgan", "dalle", "upscaler", "dalle-mini", "detokenizer", "janus",
                 "kandinsky", "flux2", "unclip", "sentences", "features"]
UNSTATED = "NOASSERTION"  # SPDX's word for "the authors do not say"
LICENCES = frozenset({
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0",
    "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "GPL-3.0-only",
    "GPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later", "LGPL-3.0-only", "MPL-2.0",
    UNSTATED})
OTHER_LICENCE = "LicenseRef-"  # SPDX's way to name any other licence


def known_licence(licence: str) -> str:
    """The licence, where it is an SPDX identifier that can be shown as it stands.

    Raises:
        ValueError: it is not known, so that nobody could say what the weights may be used for.
    """
    reference = licence.removeprefix(OTHER_LICENCE)
    is_reference = reference != licence and reference.replace("-", "").replace(".", "").isalnum()
    if licence in LICENCES or (is_reference and licence.isascii()):
        return licence
    raise ValueError(f"{licence[:40]!r} is not a licence that Easel knows: give an SPDX identifier "
                     f"such as MIT, {OTHER_LICENCE}NAME for another one, or {UNSTATED}")


def licence_words(licence: str) -> str:
    """A licence as people read it."""
    return "not stated" if licence == UNSTATED else licence.removeprefix(OTHER_LICENCE)


class ModelFile(BaseModel):
    """One file of a model.

    Attributes:
        name: path below the model's folder, and in its repository.
        size_bytes: its size, None where that is not known.
        sha256: in hex; without it the file is not checked yet.
        optional: whether a repository may lack it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelId
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    sha256: Sha256 | None = None
    optional: bool = False


class Network(BaseModel):
    """What a model's files must hold; a file of another network under its name is refused.

    Attributes:
        codes: of a codebook.
        width: of its embeddings or states, as its paper gives it.
        parameters: numbers that training learned, of the parts that Easel loads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    parameters: Annotated[int, Field(ge=1)] | None = None


class CatalogueEntry(BaseModel):
    """One model.

    Attributes:
        id: what leases call it; "embedded/NAME" lies in ``assets/weights/NAME``.
        title: what people call it, as in "loading the TITLE".
        family: which pipelines can use it.
        loader: which code reads its files, a name of ``pipelines.models.checkpoints.formats``.
        licence: SPDX identifier of the weights' own licence, which need not be the code's;
            NOASSERTION where none is stated.
        restrictions: sentences on what the authors ask not to do with the weights.
        source: where the weights come from, for people.
        repository: "OWNER/NAME" on the hub that they are downloaded from; None for no download.
        revision: branch, tag or commit there; the first download fixes the commit.
        path: folder of the files on this machine; None for the catalogue's own folders.
        files_of: id of an earlier entry of the same repository that has these files; they are
            downloaded once, for both.
        download_bytes: about how much a download is; the hub says it exactly.
        vram_bytes: device memory of weights and activations together, as an estimate.
        network: what the files must hold, as far as it is known.
        config: what the loader must know and the files do not say.
        parts: ids of models whose modules this one holds, by the attribute that holds them; none
            of them has parts itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ModelId
    title: Annotated[str, StringConstraints(min_length=1)]
    family: Family
    loader: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")] = "embedded"
    licence: Annotated[str, AfterValidator(known_licence)]
    restrictions: str = ""
    source: Annotated[str, StringConstraints(min_length=1)]
    repository: Annotated[str, StringConstraints(
        pattern=rf"^{PART}/{PART}$", max_length=96)] | None = None
    revision: Annotated[str, StringConstraints(
        pattern=rf"^{PART}(/{PART})*$", max_length=100)] | None = None
    path: Path | None = None
    files_of: ModelId | None = None
    download_bytes: Annotated[int, Field(ge=0)] | None = None
    vram_bytes: Annotated[int, Field(ge=0)] | None = None
    network: Network | None = None
    config: Mapping[str, Any] = Field(default_factory=dict)
    parts: Mapping[str, ModelId] = Field(default_factory=dict)
    files: tuple[ModelFile, ...]

    @model_validator(mode="after")
    def _one_source(self) -> CatalogueEntry:
        if self.path is not None and self.repository is not None:
            raise ValueError("a model has a path or a repository, not both")
        if self.revision is not None and self.repository is None:
            raise ValueError("a revision needs a repository")
        if self.files_of is not None and self.repository is None:
            raise ValueError("another model's files are of a repository")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("a file is listed twice")
        return self

    @property
    def kept_as(self) -> str:
        """Id of the model under which its downloaded files and their pins are kept."""
        return self.files_of or self.id

    def file(self, name: str) -> ModelFile:
        """The entry's file of that name.

        Raises:
            WeightsError: the entry lists no such file.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise WeightsError("The catalogue lists no {} for the model {}.", name, self.id)
