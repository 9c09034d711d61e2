"""How the page looks: one dark theme with letters of the system, for Gradio's own components too."""

from pathlib import Path

import gradio

HERE = Path(__file__).parent
STYLE, SCRIPT, GAP_SCRIPT = (HERE / name for name in ("page.css", "board.js", "gap.js"))
GROUND, PANEL, RAISED, EDGE = "#0f1015", "#171922", "#20232f", "#2c3040"
INK, FAINT, ACCENT, DEEP = "#eceef5", "#9aa1b5", "#ff8a4c", "#1a0f09"


def theme() -> gradio.themes.Base:
    """The same colours by day and by night."""
    looks = {
        "body_background_fill": GROUND,
        "body_text_color": INK,
        "body_text_color_subdued": FAINT,
        "background_fill_primary": PANEL,
        "background_fill_secondary": GROUND,
        "block_background_fill": PANEL,
        "block_border_color": EDGE,
        "block_label_background_fill": PANEL,
        "block_label_text_color": FAINT,
        "block_title_text_color": FAINT,
        "block_info_text_color": FAINT,
        "border_color_primary": EDGE,
        "border_color_accent": ACCENT,
        "color_accent_soft": RAISED,
        "input_background_fill": RAISED,
        "input_background_fill_focus": RAISED,
        "input_border_color": EDGE,
        "input_border_color_focus": ACCENT,
        "input_placeholder_color": FAINT,
        "panel_background_fill": PANEL,
        "slider_color": ACCENT,
        "button_primary_background_fill": ACCENT,
        "button_primary_background_fill_hover": "#ffa06e",
        "button_primary_text_color": DEEP,
        "button_primary_text_color_hover": DEEP,
        "button_secondary_background_fill": RAISED,
        "button_secondary_background_fill_hover": EDGE,
        "button_secondary_text_color": INK,
        "button_secondary_border_color": EDGE,
        "link_text_color": ACCENT,
        "loader_color": ACCENT,
    }
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    base = gradio.themes.Base(
        primary_hue="orange",
        neutral_hue="slate",
        radius_size="md",
        font=system,
        font_mono=["ui-monospace", "monospace"],
    )
    both = looks | {f"{name}_dark": value for name, value in looks.items()}
    return base.set(**both)
