"""Catalogues of models, ours and a user's: what is wrong in one is said, and the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.core.errors import WeightsError
from pipelines.models import vqgan
from pipelines.models.checkpoints.catalogue import CATALOGUE_PATH, Catalogue
from pipelines.models.checkpoints.loading import load_model
from tests.weight_folders import VQGAN_CONFIG, catalogue, entry
from training.export import export

__all__ = ["catalogue"]


@pytest.mark.parametrize("line", [
    'id = "../x"', 'id = "embedded/x"\nunheard_of = 1', 'id = "embedded/x"\nfamily = "other"',
    'id = "embedded/x"\nfiles = [{name = "../../x"}]',
    'id = "embedded/x"\nfiles = [{name = "x", sha256 = "short"}]', "id = ", "id = 5",
])
def test_a_wrong_catalogue(tmp_path: Path, line: str) -> None:
    fields = {"title": "t", "family": "clip", "licence": "MIT", "source": "s", "files": []}
    rest = [f"{key} = {json.dumps(value)}" for key, value in fields.items()
            if f"\n{key} =" not in f"\n{line}"]
    path = tmp_path / "catalogue.toml"
    path.write_text("\n".join(["[[models]]", line, *rest]))
    with pytest.raises(WeightsError, match=r"^The catalogue catalogue.toml "):
        Catalogue.load(path)


@pytest.mark.parametrize("folder", [".", "/", "a/.."])
def test_a_folder_in_a_catalogues_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 folder: str) -> None:
    """Also one whose path has no last part."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as caught:
        Catalogue.load(Path(folder))
    named = folder.rpartition("a/")[2]
    assert str(caught.value) == f"The catalogue {named} cannot be read: is a directory."


def test_two_models_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="two models"):
        Catalogue((entry("embedded/a", "clip"), entry("embedded/a", "clip")), tmp_path)


def test_the_shipped_catalogue_is_valid() -> None:
    catalogue = Catalogue.load()
    assert CATALOGUE_PATH.is_file()
    assert {e.id for e in catalogue} >= {"embedded/vqgan", "embedded/clip-guide",
                                         "embedded/clip-ranker", "embedded/dalle"}


USER_ENTRY = {"id": "me/mine", "title": "mine", "family": "vqgan", "licence": "MIT",
              "source": "a test", "path": "mine", "files": [{"name": "config.json"},
                                                            {"name": "model.safetensors"}]}


def user_catalogue(folder: Path, *entries: dict[str, object]) -> Path:
    """A user's catalogue file of these entries."""
    def table(entry: dict[str, object]) -> str:
        lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items() if key != "files"]
        files = entry.get("files", [])
        assert isinstance(files, list)
        return "\n".join(["[[models]]", *lines, *(
            f'[[models.files]]\nname = "{file["name"]}"' for file in files)])

    path = folder / "catalogue.toml"
    path.write_text("\n".join(table(entry) for entry in entries))
    return path


def test_a_users_own_model_loads_from_a_path_beside_the_file(catalogue: Catalogue) -> None:
    folder = catalogue.weights_dir
    export(vqgan.build(VQGAN_CONFIG), "mine", "vqgan", VQGAN_CONFIG, "A test.", folder)
    catalogue.add_user_entries(user_catalogue(folder, USER_ENTRY))
    assert catalogue.faults == ()
    assert isinstance(load_model(catalogue, catalogue.get("me/mine")), vqgan.VQGAN)
    (folder / "mine" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"^The file config.json of the model me/mine is not"):
        load_model(catalogue, catalogue.get("me/mine"))


@pytest.mark.parametrize(("change", "words"), [
    ({"id": "../../evil"}, "'../../evil' is not of the form"),
    ({"id": "embedded/vqgan"}, "names with embedded/ are Easel's own"),
    ({"files": [{"name": "../x"}]}, "'../x' is not of the form"),
    ({"licence": "free for all"}, "'free for all' is not a licence that Easel knows"),
    ({"licence": "LicenseRef-"}, "not a licence that Easel knows"),
    ({"path": "x", "repository": "a/b"}, "a path or a repository, not both"),
    ({"path": None}, "neither a path nor a repository"),
    ({"repository": "../b", "path": None}, "'../b' is not of the form"),
    ({"revision": "main"}, "a revision needs a repository"),
    ({"id": "me/good"}, "two models called me/good"),
    ({"path": "~nobody-of-this-name/weights"}, "a path that leads nowhere"),
])
def test_a_wrong_entry_of_a_user_is_told_and_the_rest_goes_on(
        catalogue: Catalogue, change: dict[str, object], words: str) -> None:
    wrong = {key: value for key, value in {**USER_ENTRY, **change}.items() if value is not None}
    good = {**USER_ENTRY, "id": "me/good", "licence": "LicenseRef-mine"}
    catalogue.add_user_entries(user_catalogue(catalogue.weights_dir, good, wrong))
    (fault,) = catalogue.faults
    assert words in fault
    assert fault.endswith(".")
    assert "\n" not in fault
    assert [e.id for e in catalogue][-1] == "me/good"
    load_model(catalogue, catalogue.get("embedded/vqgan"))


@pytest.mark.parametrize("text", ["models = 5", "models = [5]", "[[", "\0"])
def test_a_users_file_that_is_no_catalogue(catalogue: Catalogue, text: str) -> None:
    path = catalogue.weights_dir / "catalogue.toml"
    path.write_text(text)
    catalogue.add_user_entries(path)
    assert len(catalogue.faults) == 1
    assert "catalogue.toml" in catalogue.faults[0]
    load_model(catalogue, catalogue.get("embedded/vqgan"))
