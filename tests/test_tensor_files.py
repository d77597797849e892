"""Files of tensors: read one by one, told from their headers, whole or in shards."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.int8 import to_int8
from pipelines.models.checkpoints.shards import shard_names
from pipelines.models.checkpoints.tensor_files import (
    held,
    memory_bytes,
    read_safetensors,
    weights_path,
)
from tests.min_dalle_folder import Sizes, converted, flax_parameters
from tests.test_vqgan_checkpoints import entry

TENSORS = {"half": torch.randn(3, 5).half(), "brain": torch.randn(2, 2, 2).bfloat16(),
           "whole": torch.randn(7), "one": torch.tensor(2.5), "none": torch.zeros(0, 4),
           "ids": torch.arange(6), "mask": torch.tensor([True, False]),
           "eight": torch.randn(4).to(torch.float8_e4m3fn), "bytes": torch.arange(3).byte()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].float(), tensor.float()), name


def test_what_safetensors_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    found = read_safetensors(path, "m")
    assert_equal(found, TENSORS)
    for name, tensor in found.items():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
    (tmp_path / "model.safetensors").write_bytes(b"")  # nothing of it was mapped
    assert_equal(found, TENSORS)


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    found = read_safetensors(tmp_path / "model.safetensors", "m", lambda name: name == "whole")
    assert_equal(found, {"whole": TENSORS["whole"]})


def test_the_file_itself_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"layer{i}": torch.zeros(2**18) for i in range(8)}, path)
    tracemalloc.start()  # sees what Python allocates, not what torch does
    read_safetensors(path, "m")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 8


def header(path: Path, change: Callable[[dict], object]) -> None:
    """Write a file again with another header, the numbers as they were."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    fields = json.loads(data[8:8 + length])
    change(fields)
    new = json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + data[8 + length:])


@pytest.mark.parametrize("change", [
    lambda fields: fields["a"].update(shape=[2**62]),
    lambda fields: fields["a"].update(shape=[-4]),
    lambda fields: fields["a"].update(shape=[[4]]),
    lambda fields: fields["a"].update(dtype="F4"),
    lambda fields: fields["a"].update(dtype="F16"),
    lambda fields: fields["a"].update(data_offsets=[16, 32]),
    lambda fields: fields["a"].update(data_offsets=[-16, 0]),
    lambda fields: fields["a"].update(data_offsets=[0, 2**62]),
    lambda fields: fields["b"].update(data_offsets=[0, 16]),
    lambda fields: fields.pop("a"), lambda fields: fields.pop("b"),
    lambda fields: fields.update(c=5),
])
def test_a_header_that_lies_is_refused(tmp_path: Path, change: Callable[[dict], object]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4), "b": torch.ones(4)}, path)
    header(path, change)
    with pytest.raises(WeightsError, match=r"^The model.safetensors of the model m is cut short or "
                                           r"is not a safetensors file\.$"):
        read_safetensors(path, "m")
    assert held(path) == []


def write_shards(folder: Path, whole: str, tensors: dict[str, Tensor], count: int = 2,
                 metadata: dict[str, str] | None = None) -> None:
    """As transformers and diffusers save a model that is larger than a shard."""
    stem = whole.removesuffix(".safetensors")
    names = [f"{stem}-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    table = {name: names[i % count] for i, name in enumerate(tensors)}
    for shard in names:
        save_file({name: tensors[name] for name in tensors if table[name] == shard},
                  folder / shard, metadata=metadata)
    index = {"metadata": {"total_size": 5}, "weight_map": table}
    (folder / f"{whole}.index.json").write_text(json.dumps(index))


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    write_shards(tmp_path, "model.safetensors", TENSORS)
    assert_equal(read_safetensors(tmp_path / "model.safetensors", "m"), TENSORS)
    assert {each.name for each in held(tmp_path / "model.safetensors")} == set(TENSORS)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"file model-00002-of-00002.safetensors of the model m "
                                           "is not there"):
        read_safetensors(tmp_path / "model.safetensors", "m")


def test_a_loader_finds_shards_by_the_name_of_the_whole(tmp_path: Path) -> None:
    listed = entry("taming-vqgan", "model.safetensors.index.json",
                   "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert weights_path(tmp_path, listed) == tmp_path / "model.safetensors"


@pytest.mark.parametrize("index", [
    b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": "../../etc/passwd"}}',
    b'{"weight_map": {"a": "other-00001-of-00002.safetensors"}}', b'{"weight_map": {"a": 5}}',
    b'{"weight_map": {"a": "sub/model-00001-of-00002.safetensors"}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        shard_names("model.safetensors", index)
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(WeightsError, match=r"model.safetensors.index.json of the model m is not an "
                                           "index of shards"):
        read_safetensors(tmp_path / "model.safetensors", "m")


def test_shards_lie_beside_their_index() -> None:
    index = b'{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    assert shard_names("prior/model.safetensors", index) == (
        "prior/model-00001-of-00001.safetensors",)


def test_half_precision_in_a_pickle_counts_as_what_it_is(tmp_path: Path) -> None:
    sizes = Sizes(texts=64, codes=64, dim=64, hidden=64, depth=2)
    tensors = converted(flax_parameters(sizes, decoder=True))
    path = tmp_path / "decoder.pt"
    torch.save(tensors, path)
    count = sum(tensor.numel() for tensor in tensors.values())
    assert memory_bytes(path, torch.float32) == 4 * count
    assert memory_bytes(path, torch.bfloat16) == 2 * count
    packed = [name for name, tensor in tensors.items() if tensor.ndim == 2 and "embed" not in name]
    expected = 4 * count - sum(3 * tensors[name].numel() - 12 * len(tensors[name])
                               for name in packed)
    assert memory_bytes(path, torch.int8, packs=True) == expected
    assert memory_bytes(path, torch.int8) == 4 * count, "a model without such matrices"


def test_what_is_not_loaded_does_not_count(tmp_path: Path) -> None:
    state = {"state_dict": {"decoder.weight": torch.zeros(10), "loss.lpips": torch.zeros(1000)}}
    torch.save(state, tmp_path / "last.ckpt")
    assert memory_bytes(tmp_path / "last.ckpt", torch.float32) == 40


def test_matrices_that_are_stored_in_8_bits_count_as_what_they_become(tmp_path: Path) -> None:
    save_file(to_int8({"weight": torch.randn(64, 64)}), tmp_path / "model.safetensors")
    assert memory_bytes(tmp_path / "model.safetensors", torch.float32) == 4 * 64 * 64


def test_a_file_that_does_not_tell(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "page.bin").write_text("<html>")
    for name in ("old.bin", "page.bin", "absent.bin", "absent.safetensors"):
        assert memory_bytes(tmp_path / name, torch.float32) == 0
