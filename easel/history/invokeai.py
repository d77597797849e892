"""What InvokeAI writes into its pictures, from version 1 on.

Version 3 and later write ``invokeai_metadata``, version 2 ``sd-metadata``, both of them JSON;
version 1 and 2 write the command of their prompt, ``Dream``, as in
``"a red apple [ugly]" -s 50 -S 4241 -C 7.5``. Up to version 2 the negative prompt stands in
brackets within the prompt.

Source: invoke-ai/InvokeAI, ``invokeai/app/services/image_files/image_files_disk.py`` (3 and
later), ``ldm/invoke/pngwriter.py`` and ``ldm/invoke/conditioning.py`` (before).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SWITCHES = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale",
            "A": "sampler"}
_SWITCH = re.compile(r"(?:^|(?<=\s))-([A-Za-z]) ?([^\s-]\S*)")


@dataclass(frozen=True)
class Invoked:
    """Two prompts, and what else a picture says by InvokeAI's names."""

    positive: str
    negative: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_metadata(facts: Mapping[str, Any]) -> Invoked | None:
    """Read the JSON of ``invokeai_metadata``; None where it says nothing."""
    if not facts:
        return None
    model = facts.get("model")
    if isinstance(model, dict):
        model = model.get("name") or model.get("model_name")
    return Invoked(_text(facts.get("positive_prompt")), _text(facts.get("negative_prompt")),
                   {**facts, "model": model})


def read_sd_metadata(facts: Mapping[str, Any]) -> Invoked | None:
    """Read the JSON of ``sd-metadata``; None where it is not of a picture."""
    image = facts.get("image")
    if not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    parts = prompt if isinstance(prompt, list) else [{"prompt": prompt}]  # parts have weights
    said = [split_brackets(_text(part.get("prompt"))) for part in parts if isinstance(part, dict)]
    return Invoked(", ".join(positive for positive, _ in said if positive),
                   ", ".join(negative for _, negative in said if negative),
                   {"model": facts.get("model_weights"), **image})


def read_dream(text: str) -> Invoked | None:
    """Read the command of a prompt; None where it is no such command."""
    text = text.strip()
    end = text.rfind('" -', 1)
    end = text.rfind('"') if end < 0 else end
    if not text.startswith('"') or end <= 0:
        return None
    positive, negative = split_brackets(text[1:end])
    facts = {SWITCHES[name]: value for name, value in _SWITCH.findall(text[end + 1:])
             if name in SWITCHES}
    return Invoked(positive, negative, facts)


def split_brackets(prompt: str) -> tuple[str, str]:
    """A prompt of InvokeAI 2 without what its brackets hold, and that: the negative prompt."""
    positive, negative, start = [], [], 0
    while (opened := prompt.find("[", start)) >= 0:
        closed = prompt.find("]", opened)
        if closed < 0:
            break
        positive.append(prompt[start:opened])
        negative.append(prompt[opened + 1:closed].strip())
        start = closed + 1
    if not negative:
        return prompt.strip(), ""
    text = " ".join("".join([*positive, prompt[start:]]).split())
    return text, ", ".join(part for part in negative if part)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
