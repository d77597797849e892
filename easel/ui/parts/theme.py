"""Colours and type as a Gradio theme, and what every component is given; the rest is style.css."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes.utils import colors

STYLE = Path(__file__).resolve().parents[1] / "style.css"
SCRIPT = Path(__file__).resolve().parents[1] / "page.js"
FAVICON = Path(__file__).resolve().parents[1] / "favicon.svg"
# No default styles and no click events: what is inside is ours.
PLAIN: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
# Typing is answered at once, whatever the device does.
LIVE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private",
                        "trigger_mode": "always_last"}

# IBM Plex comes with Gradio and is served by it: no font is fetched from elsewhere. Its semibold
# lacks most letters, so the page has regular and bold.
INK = colors.Color(
    name="ink", c50="#eef2fc", c100="#dbe3f8", c200="#b9c8f1", c300="#8fa6e8", c400="#6482dc",
    c500="#3f61cd", c600="#2f4fb8", c700="#273f93", c800="#223571", c900="#1e2c58", c950="#141d3b")
PAPER = colors.Color(
    name="paper", c50="#faf9f6", c100="#f2f0eb", c200="#e4e1d9", c300="#cfcbc1", c400="#9b968b",
    c500="#6d685f", c600="#55514a", c700="#3d3a35", c800="#2a2825", c900="#1d1c19", c950="#141311")


def build_theme() -> gr.themes.Base:
    """Flat, quiet surfaces: the pictures are the only thing on the page with colour."""
    return gr.themes.Base(primary_hue=INK, secondary_hue=INK, neutral_hue=PAPER,
                          font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)),
                                "system-ui", "sans-serif"),
                          radius_size=gr.themes.sizes.radius_sm,
                          text_size=gr.themes.sizes.text_md).set(
        body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900", body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="#a9a498",
        background_fill_primary="#ffffff", background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100", background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200", border_color_primary_dark="*neutral_700",
        border_color_accent="*primary_600", border_color_accent_dark="*primary_300",
        color_accent="*primary_600", color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_900",
        block_background_fill="transparent", block_background_fill_dark="transparent",
        block_border_width="0px", block_border_width_dark="0px", block_shadow="none",
        block_shadow_dark="none", block_padding="0px", block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent", block_title_text_weight="700",
        block_title_text_color="*neutral_800", block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_500", block_info_text_color_dark="#a9a498",
        panel_background_fill="transparent", panel_background_fill_dark="transparent",
        input_background_fill="#ffffff", input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300", input_border_color_dark="*neutral_600",
        input_border_width="1px", input_shadow="none", input_shadow_focus="none",
        input_border_color_focus="*primary_600", input_border_color_focus_dark="*primary_300",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="#a9a498",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color="*neutral_400", checkbox_border_color_dark="*neutral_500",
        slider_color="*primary_600", slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#ffffff",
        button_primary_border_color="*primary_600", button_primary_border_color_dark="*primary_500",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_secondary_text_color="*neutral_900", button_secondary_text_color_dark="*neutral_100",
        button_border_width="1px", button_large_padding="10px 18px", button_large_radius="6px",
        button_large_text_weight="700",
    )
