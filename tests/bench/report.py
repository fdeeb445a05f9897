"""How a figure is said."""

from dataclasses import dataclass


@dataclass
class Figure:
    """One measured value beside its bound and its target, all in `unit`; `met` is None without a target."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    bound_is: str = ""
    target: str = ""
    met: bool | None = None
    note: str = ""


def shown(figure: Figure) -> str:
    line = f"{figure.name:<46} {figure.value:>9.2f} {figure.unit:<7}"
    if figure.bound:
        line += f" bound {figure.bound:.2f} ({figure.bound_is}), ratio {figure.value / figure.bound:.2f}"
    if figure.target:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        line += f"  target {figure.target} {verdict}"
    return line + (f"  {figure.note}" if figure.note else "")
