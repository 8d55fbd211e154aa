"""Figures of the results."""

from pathlib import Path

from utils.errors import InputError
from utils.metrics import GROUPS
from utils.tables import METHODS

# Okabe and Ito's colours, told apart by colour-blind readers; the hatching tells them apart in grey. A method has the
# same in every figure.
_STYLES = (
    ("#999999", ""),
    ("#56B4E9", "//"),
    ("#F0E442", "--"),
    ("#D55E00", ".."),
    ("#009E73", "xx"),
    ("#CC79A7", "\\\\"),
)


def plot_groups(panels: dict[str, dict[str, dict[str, tuple[float, float | None]]]], path: Path, title: str) -> None:
    """Bars of Many, Medium, Few and All with the standard deviation over splits, one panel per probe.

    Args:
        panels: probe -> method -> column -> (mean, std) in percent. path: .png or .pdf.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    everyone = list(dict.fromkeys(method for methods in panels.values() for method in methods))
    known = list(dict.fromkeys([*METHODS.values(), *everyone]))
    styles = {method: _STYLES[i % len(_STYLES)] for i, method in enumerate(known)}
    # BCL's table has no All.
    has_all = any("All" in values for methods in panels.values() for values in methods.values())
    columns = (*GROUPS, "All") if has_all else GROUPS
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.0), squeeze=False, sharey=True)
    for axis, (probe, methods) in zip(axes[0], panels.items(), strict=True):
        width = 0.8 / max(len(methods), 1)
        for i, (method, values) in enumerate(methods.items()):
            colour, hatch = styles[method]
            x = [j + (i - (len(methods) - 1) / 2) * width for j in range(len(columns))]
            # A group without a class has no bar.
            mean, std = zip(*((m, s or 0) for m, s in (values.get(c, (float("nan"), 0)) for c in columns)), strict=True)
            bars = axis.bar(x, mean, width * 0.92, yerr=std if any(std) else None, capsize=2, color=colour, hatch=hatch)
            bars.set_label(method)
            for bar in bars:
                bar.set(edgecolor="black", linewidth=0.5)
        axis.set_xticks(range(len(columns)), columns)
        axis.set_xlabel("class group")
        axis.set_title(probe, fontsize=10)
        axis.set_ylim(0, 100)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("test accuracy (%)")
    figure.suptitle(title, fontsize=10)
    shown = {label: handle for a in axes[0] for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    columns_of_legend = min(len(everyone), 3 * len(panels))  # as many as fit into the width
    figure.legend([shown[m] for m in everyone], everyone, loc="lower center", ncols=columns_of_legend, frameon=False,
                  fontsize=9)  # fmt: skip
    figure.tight_layout(rect=(0, 0.08 * -(-len(everyone) // columns_of_legend), 1, 1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the figure {path}: {error}") from error
    finally:
        plt.close(figure)
