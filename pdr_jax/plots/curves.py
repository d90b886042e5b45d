"""Scores over a quantity, such as degrees outside of the training range.

There is one panel for each label and one line for each method.
"""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pdr_jax.plots import style

Line = Sequence[tuple[float, float, float]]  # (place, mean, deviation)
MARKERS = "os^vDPX*<>"


def curves(
    panels: Mapping[str, Mapping[str, Line]], title: str = "", *, across: str, upwards: str
) -> Figure:
  """Panels `{title: {line: points}}` beside each other, with bars of one deviation, on one scale.

  `across` and `upwards` are the axes' names.
  """
  figure = style.figure(1.4 + 3.6 * len(panels), 3.4, dpi=110, constrained=True)
  axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
  for axis, (name, lines) in zip(axes, panels.items(), strict=True):
    for i, (line, points) in enumerate(lines.items()):
      places, means, deviations = zip(*sorted(points), strict=True)
      marker = MARKERS[i % len(MARKERS)]
      axis.errorbar(
          places, means, yerr=deviations, label=line, marker=marker, markersize=4, linewidth=1.3, capsize=2
      )
    axis.set_title(name, fontsize=9)
    axis.set_xlabel(across, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
  axes[0].set_ylabel(upwards, fontsize=9)
  handles, labels = axes[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
  figure.suptitle(title, fontsize=10)
  return figure
