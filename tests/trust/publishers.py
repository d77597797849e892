"""Files and texts as their publishers write them, for the readers of ``tests/trust/parsers.py``."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from pipelines.core.png_chunks import SIGNATURE

A1111 = (b"a castle, (detailed:1.2)\non a hill\nNegative prompt: blurry,\ntext\nSteps: 20, "
         b"Sampler: Euler a, CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model: dream, "
         b'Lora hashes: "a: 1, b: 2", Hashes: {"vae": "63", "model": "a, b"}, Version: v1.6.0\n'
         b"Template: {a|b}")
INVOKE = json.dumps({
    "positive_prompt": "a red apple", "negative_prompt": "fog", "seed": 5, "steps": 30,
    "cfg_scale": 7.5, "model": {"name": "dream"}, "width": 512, "scheduler": "euler"}).encode()
SD = json.dumps({"model_weights": "sd-1.5", "image": {
    "prompt": [{"prompt": "a cat [ugly]", "weight": 1.0}], "seed": 7, "steps": 50}}).encode()
DREAM = b'"a red apple [ugly] on a hill" -s 50 -S 4241 -W 512 -H 512 -C 7.5 -A k_lms'
GRAPH = json.dumps({
    "1": {"class_type": "KSampler", "inputs": {
        "seed": 5, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "positive": ["2", 0],
        "negative": ["3", 0], "model": ["4", 0]}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ["5", 0]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog"}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream"}},
    "5": {"class_type": "StringConcatenate", "inputs": {
        "string_a": "a cat", "string_b": ["6", 0], "delimiter": ", "}},
    "6": {"class_type": "Switch", "inputs": {"select": 1, "input1": "a", "input2": ["5", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}).encode()
LAYOUT = json.dumps({
    "nodes": [
        {"id": 1, "type": "KSampler", "widgets_values": [5, "fixed", 20, 7.5, "euler", "normal", 1],
         "inputs": [{"name": "positive", "link": 1}, {"name": "negative", "link": 2}]},
        {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a cat"], "inputs": []},
        {"id": 3, "type": "sub", "widgets_values": ["x"], "mode": 0,
         "inputs": [{"name": "text", "widget": {"name": "text"}, "link": None}]},
        {"id": 4, "type": "GetNode", "widgets_values": ["p"]},
        {"id": 5, "type": "SetNode", "widgets_values": ["p"], "inputs": [{"link": 1}]}],
    "links": [[1, 2, 0, 1, 0, "CONDITIONING"], [2, 3, 0, 1, 1, "CONDITIONING"]],
    "definitions": {"subgraphs": [{
        "id": "sub", "nodes": [{"id": 7, "type": "CLIPTextEncode", "widgets_values": ["fog"],
                                "inputs": [{"name": "text", "link": 11}]}],
        "links": [{"id": 11, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0},
                  {"id": 12, "origin_id": 7, "origin_slot": 0, "target_id": -20,
                   "target_slot": 0}]}]}}).encode()
OWN = json.dumps({
    "prompt": "a red apple", "pipeline": "dalle", "seed": 5, "num_images": 4, "options": {
        "temperature": 0.3, "top_k": 64, "negative_prompt": "", "truncation": None}}).encode()
PANE = {"pipeline": "dalle", "title": "DALL·E", "num_images": 1, "seed": 1,
        "options": {"top_k": 64}, "weights": {"embedded/dalle": "ab" * 32}, "elapsed_s": 1.5,
        "device_s": 1.0, "peak_memory_bytes": 10**9, "pictures": []}
FACTS_TEXT = json.dumps({"version": 1, "prompt": "a cat", "budget_s": None, "blind": True,
                         "vote": "tie", "versions": {"torch": "2"}, "panes": [PANE, PANE]}).encode()
TOML = b"""[[models]]
id = "mine/dream"
title = "Dream"
family = "clip"
loader = "open_clip"
licence = "MIT"
source = "my own"
repository = "owner/name"
revision = "main"
config = {architecture = "ViT-B-32", "a b" = [1, 2.5, true], mean = {x = 1979-05-27}}
[[models.files]]
name = "open_clip_model.safetensors"
size_bytes = 605143316
[[models]]
id = "mine/local"
title = "Local"
family = "vqgan"
licence = "NOASSERTION"
source = "my own"
path = "~/models/local"
network = {codes = 1024, width = 256}
files = [{name = "model.ckpt", sha256 = "%s", optional = true}]
""" % (b"ab" * 32)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# Of chunks, where Python cannot call an argument so.
NAMES = {"sd_metadata": "sd-metadata"}


def png(**texts: bytes) -> bytes:
    """A picture of one pixel with texts as some tool wrote them, right or wrong."""
    return b"".join([
        SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        *(chunk(b"tEXt", NAMES.get(name, name).encode() + b"\0" + text)
          for name, text in texts.items()),
        chunk(b"IDAT", zlib.compress(b"\0\1\2\3")), chunk(b"IEND", b"")])


def safetensors(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


SMALL = safetensors({"a.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                      "b": {"dtype": "U8", "shape": [], "data_offsets": [16, 17]},
                      "__metadata__": {"easel_run": "{}", "sha256": "ab" * 32}}, bytes(17))
SHARDS = json.dumps({"metadata": {"total_size": 17}, "weight_map": {
    "a.weight": "model-00001-of-00002.safetensors"}}).encode()
