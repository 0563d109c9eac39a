"""Colours, fonts and the widths of text."""

from __future__ import annotations

COLORS: dict[str, tuple[str, str]] = {  # kind -> fill, border
    "conv": ("#dbeafe", "#3b82f6"),
    "linear": ("#ede9fe", "#8b5cf6"),
    "pool": ("#dcfce7", "#22a35a"),
    "join": ("#ffedd5", "#f08a24"),
    "resize": ("#fef9c3", "#c9a10c"),
    "torch": ("#fee2e2", "#dc4a4a"),
    "input": ("#ffffff", "#475569"),
    "other": ("#f1f5f9", "#94a3b8"),
}
INK, SOFT, SKIP, LINE = "#1c2733", "#5d6b7a", "#e07b12", "#64748b"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


def color_of(kind: str, joins: bool) -> str:
    """The key of `COLORS` for a layer's kind."""
    kind = kind.lower()
    words = {
        "conv": ("conv",),
        "linear": ("linear", "matmul", "attention", "einsum", "bmm"),
        "pool": ("pool", "mean"),
        "resize": ("interpolate", "upsample", "shuffle"),
    }
    for color, found in words.items():
        if any(word in kind for word in found):
            return color
    return "join" if joins or kind in ("add", "add_act", "concat", "mul", "gated") else "other"


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Pixels of a line, by the widths of DejaVu Sans, the widest font of the list."""
    ems = sum(_WIDTHS.get(c, 0.66 if c.isupper() else 0.62) for c in text)
    return ems * size * (1.12 if bold else 1.0)


_WIDTHS = {
    **dict.fromkeys("iljI|!'.,:;", 0.33), **dict.fromkeys("ftr()[] -/", 0.4), "m": 0.98, "w": 0.82, "M": 0.87,
    "W": 1.0, "×": 0.84, "…": 1.0, "·": 0.33, "+": 0.84, "→": 0.84, "s": 0.53, "c": 0.56, "x": 0.6,
}  # fmt: skip
