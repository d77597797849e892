"""Settings come back from the files of four tools, and nothing in a file can do harm."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from easel.history.comfyui import read_graph, read_workflow
from easel.history.recall import Recalled, recall, recalled_from_facts
from pipelines.core.errors import InvalidImage
from pipelines.core.metadata import encode_png
from tests.kept import new_picture

A1111 = ("a castle, (detailed:1.2)\non a hill\nNegative prompt: blurry,\ntext\n"
         "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 965400086, Size: 512x768, "
         "Model: dreamshaper, Version: v1.6.0")


def png(**texts: str) -> bytes:
    chunks = PngInfo()
    for key, value in texts.items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def with_comment(kind: str, comment: bytes) -> bytes:
    """A picture with an EXIF UserComment, as piexif writes it for A1111."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def test_easels_own_files() -> None:
    found = recall(new_picture("maçã <b>", seed=2**32 - 1, num_images=4).data)
    assert found == Recalled("Easel", "maçã <b>", seed=2**32 - 1, pipeline="dalle", num_images=4,
                             options={"guidance_scale": 3.0})
    assert recalled_from_facts(new_picture("maçã <b>", seed=2**32 - 1, num_images=4).facts) == found


A1111_FILES = {
    "png": png(parameters=A1111),
    "jpeg": with_comment("JPEG", b"UNICODE\0" + A1111.encode("utf-16-be")),
    "webp": with_comment("WEBP", b"UNICODE\0" + A1111.encode("utf-16-be")),
    "other order": with_comment("JPEG", b"UNICODE\0" + A1111.encode("utf-16-le")),
    "ascii": with_comment("JPEG", b"ASCII\0\0\0" + A1111.encode()),
    "undefined": with_comment("WEBP", bytes(8) + A1111.encode()),
}


@pytest.mark.parametrize("name", A1111_FILES)
def test_a1111(name: str) -> None:
    found = recall(A1111_FILES[name])
    assert found.tool == "A1111"
    assert found.prompt == "a castle, (detailed:1.2)\non a hill"
    assert found.negative_prompt == "blurry,\ntext"
    assert found.seed == 965400086
    assert found.options == {}, "another tool's numbers mean something else"
    assert dict(found.other) == {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7.5",
                                 "Size": "512x768", "Model": "dreamshaper", "Version": "v1.6.0"}


@pytest.mark.parametrize(("chunks", "expected"), [
    ({"invokeai_metadata": {
        "app_version": "4.2.7", "generation_mode": "sdxl_txt2img", "positive_prompt": "a castle",
        "negative_prompt": "blurry", "width": 832, "height": 1216, "seed": 2849, "steps": 30,
        "cfg_scale": 7.5, "scheduler": "dpmpp_2m_k",
        "model": {"key": "x", "hash": "blake3:1", "name": "Juggernaut", "base": "sdxl"}}},
     ("a castle", "blurry", 2849,
      {"Steps": "30", "CFG scale": "7.5", "Model": "Juggernaut", "Scheduler": "dpmpp_2m_k",
       "Width": "832", "Height": "1216"})),
    ({"invokeai_metadata": {"positive_prompt": "flux", "guidance": 4, "seed": 1,
                            "model": {"model_name": "flux dev"}}},
     ("flux", "", 1, {"Guidance": "4", "Model": "flux dev"})),
    ({"sd-metadata": {
        "model": "stable diffusion", "model_weights": "sd-v1-5", "app_version": "2.3.0",
        "image": {"prompt": [{"prompt": "a castle [blurry]", "weight": 1.0},
                             {"prompt": "a hill", "weight": 0.5}],
                  "steps": 50, "cfg_scale": 7, "sampler": "k_lms", "seed": 42, "width": 512}}},
     ("a castle, a hill", "blurry", 42,
      {"Steps": "50", "CFG scale": "7", "Model": "sd-v1-5", "Sampler": "k_lms", "Width": "512"})),
    ({"Dream": '"a "red" apple [ugly] on a table [dark]" -s50 -S 4241 -W 512 -C7.5 -A k_lms -G 1'},
     ('a "red" apple on a table', "ugly, dark", 4241,
      {"Steps": "50", "CFG scale": "7.5", "Sampler": "k_lms", "Width": "512"})),
    ({"Dream": '"a red [apple"'}, ("a red [apple", "", None, {})),
])
def test_invokeai(chunks: dict[str, Any], expected: tuple) -> None:
    found = recall(png(**{key: value if isinstance(value, str) else json.dumps(value)
                          for key, value in chunks.items()}))
    assert (found.tool, found.options) == ("InvokeAI", {})
    assert (found.prompt, found.negative_prompt, found.seed, dict(found.other)) == expected


PLAIN_GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 156680208700286, "steps": 20, "cfg": 8.0, "sampler_name": "euler",
        "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0],
        "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640,
                                                       "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a glass bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]},
          "is_changed": [float("nan")]},
}
FLUX_GRAPH = {
    "1": {"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["2", 0], "guider": ["3", 0], "sampler": ["4", 0], "sigmas": ["5", 0],
        "latent_image": ["6", 0]}},
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 77}},
    "3": {"class_type": "BasicGuider", "inputs": {"model": ["7", 0], "conditioning": ["8", 0]}},
    "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4,
                                                     "model": ["7", 0]}},
    "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
    "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-schnell.safetensors"}},
    "8": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["9", 0]}},
    "9": {"class_type": "CLIPTextEncode", "inputs": {"text": ["10", 0]}},
    "10": {"class_type": "PrimitiveString", "inputs": {"value": "a bottle of galaxies"}},
    "11": {"class_type": "SaveImage", "inputs": {"images": ["12", 0]}},
    "12": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
}
# Two passes and a ControlNet: the first pass decides, and both prompts go through one node.
TWO_PASS_GRAPH = {
    **PLAIN_GRAPH,
    "3": {"class_type": "KSampler", "inputs": {
        **PLAIN_GRAPH["3"]["inputs"], "seed": 5, "positive": ["20", 0], "negative": ["20", 1]}},
    "20": {"class_type": "ControlNetApplyAdvanced", "inputs": {
        "positive": ["21", 0], "negative": ["7", 0], "strength": 1.0}},
    "21": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0],
                                                           "conditioning_2": ["22", 0]}},
    "22": {"class_type": "CLIPTextEncode", "inputs": {"text": "at dawn"}},
    "30": {"class_type": "KSampler", "inputs": {
        "seed": 6, "steps": 10, "cfg": 4, "positive": ["6", 0], "negative": ["7", 0],
        "latent_image": ["31", 0]}},
    "31": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1024}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["30", 0]}},
}


@pytest.mark.parametrize(("graph", "expected"), [
    (PLAIN_GRAPH, ("a glass bottle", "watermark", None, "20", "8.0")),
    (FLUX_GRAPH, ("a bottle of galaxies", "", 77, "4", "3.5")),
    (TWO_PASS_GRAPH, ("a glass bottle, at dawn", "watermark", 5, "20", "8.0")),
])
def test_comfyui(graph: dict[str, Any], expected: tuple) -> None:
    found = recall(png(prompt=json.dumps(graph), workflow="{}"))
    assert (found.tool, found.options) == ("ComfyUI", {})
    other = dict(found.other)
    assert (found.prompt, found.negative_prompt, found.seed, other.pop("Steps"),
            other.pop("CFG scale")) == expected
    if graph is PLAIN_GRAPH:  # its seed has 48 bits, more than Easel's
        assert other == {
            "Seed": "156680208700286", "Model": "v1-5.safetensors", "Sampler": "euler",
            "Scheduler": "normal", "Width": "512", "Height": "640"}


def test_comfyui_without_a_prompt_tells_what_it_sets() -> None:
    """The texts may be on another machine, or no text draws it at all."""
    graph = {"1": {"class_type": "ImageOnlySampler", "inputs": {
        "seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "image": ["2", 0],
        "model": ["4", 0]}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "4": {"class_type": "ImageOnlyCheckpointLoader", "inputs": {"ckpt_name": "svd"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
    found = recall(png(prompt=json.dumps(graph)))
    assert (found.tool, found.prompt, found.negative_prompt, found.seed) == ("ComfyUI", "", "", 5)
    assert dict(found.other) == {"Steps": "20", "CFG scale": "8.0", "Model": "svd",
                                 "Sampler": "euler"}
    noise = {"1": {"class_type": "RandomNoise", "inputs": {"noise_seed": 2**40}}}
    assert dict(recall(png(prompt=json.dumps(noise))).other) == {"Seed": str(2**40)}
    layout = {"nodes": [
        {"id": 3, "type": "KSampler", "widgets_values": [9, "fixed", 25, 6.5, "euler", "normal", 1],
         "inputs": [{"name": "positive", "link": 1}]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a bottle"]}],
        "links": [[1, 6, 0, 3, 0, "CONDITIONING"]]}
    found = recall(png(prompt=json.dumps(noise), workflow=json.dumps(layout)))
    assert (found.prompt, found.seed) == ("a bottle", 9), "the layout has the texts"


def test_comfyuis_webp_and_layouts() -> None:
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(FLUX_GRAPH)
    exif[0x010F] = "workflow:{}"
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "WEBP", exif=exif)
    assert recall(buffer.getvalue()).prompt == "a bottle of galaxies"
    layout = {
        "nodes": [
            {"id": 3, "type": "KSampler", "widgets_values": [9, "randomize", 25, 6.5, "euler",
                                                             "normal", 1],
             "inputs": [{"name": "positive", "link": 1}, {"name": "negative", "link": 2},
                        {"name": "latent_image", "link": None}]},
            {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a glass bottle"],
             "inputs": [{"name": "clip", "link": 3}]},
            {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["text"]}],
        "links": [[1, 6, 0, 3, 0, "CONDITIONING"], [2, 7, 0, 3, 1, "CONDITIONING"]]}
    found = recall(png(workflow=json.dumps(layout)))
    assert (found.prompt, found.negative_prompt, found.seed) == ("a glass bottle", "text", 9)
    assert (dict(found.other)["Steps"], dict(found.other)["CFG scale"]) == ("25", "6.5")


@pytest.mark.parametrize("data", [
    png(), png(Comment="holiday"), png(prompt="a plain text"), png(prompt="[" * 50_000),
    png(workflow='{"nodes": 5, "links": []}'), png(easel="[]"), png(easel='{"seed": 1}'),
    png(**{"sd-metadata": '{"image": 5}'}), with_comment("JPEG", b""),
    encode_png(np.zeros((2, 2, 3), np.uint8), {})[:60], b"", b"<svg/>",
    b"GIF89a" + bytes(40)], ids=range(13))
def test_what_says_nothing_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(InvalidImage) as caught:
        recall(data)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_picture_cut_short_still_tells_its_settings() -> None:
    data = png(parameters=A1111)
    assert recall(data[:data.index(b"IDAT") + 6]).seed == 965400086


def test_texts_that_no_prompt_may_hold_are_cleaned() -> None:
    facts = {"prompt": "a\0b\ud800" + "x" * 600, "seed": -5, "options": {"a": "<script>"},
             "num_images": "many", "pipeline": ["dalle"]}
    found = recall(png(easel=json.dumps(facts)))
    assert found.prompt == "ab" + "x" * 498
    assert found.cut
    assert (found.seed, found.num_images, found.pipeline) == (None, None, "")


def test_a_graph_with_more_paths_than_time_ends() -> None:
    graph: dict[str, Any] = {"0": {"class_type": "CLIPTextEncode", "inputs": {"text": "deep"}}}
    for level in range(1, 50):
        both = [str(level - 1), 0]
        graph[str(level)] = {"class_type": "ConditioningCombine", "inputs": {
            "conditioning_1": both, "conditioning_2": both}}
    graph["49"]["inputs"]["conditioning_to"] = ["49", 0]
    graph["s"] = {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["49", 0]}}
    found = read_graph(graph)
    assert found is not None
    assert found.positive == "deep"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["KSampler", "positive", "6"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["inputs", "class_type", "positive", "seed", "6", "nodes", "links",
                         "guider", "noise", "text", "id", "type", "widgets_values", "link",
                         "name", "image", "prompt"]), inner, max_size=6), max_leaves=30)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["3", "6", "nodes", "links", "image"]), JSON, max_size=5))
def test_no_json_breaks_the_readers(raw: dict[str, Any]) -> None:
    for read in (read_graph, read_workflow):
        found = read(raw)
        assert found is None or isinstance(found.positive, str)
    text = json.dumps(raw)
    for key in ("easel", "invokeai_metadata", "sd-metadata", "prompt", "workflow"):
        try:
            found_picture = recall(png(**{key: text}))
        except InvalidImage:
            continue
        assert isinstance(found_picture.prompt, str)
