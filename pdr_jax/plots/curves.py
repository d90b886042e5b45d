"""Scores over a quantity, such as degrees outside of the training range.

There is one panel for each label and one line for each method, which looks the same in all panels.
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
  numbers, handles = {}, {}  # of lines: a panel may lack some that others have
  figure = style.figure(1.4 + 3.6 * len(panels), 3.4, dpi=110, constrained=True)
  axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
  for axis, (name, lines) in zip(axes, panels.items(), strict=True):
    for line, points in lines.items():
      places, means, deviations = zip(*sorted(points), strict=True)
      i = numbers.setdefault(line, len(numbers))
      looks = {"color": f"C{i}", "marker": MARKERS[i % len(MARKERS)]}
      handles[line] = axis.errorbar(
          places, means, yerr=deviations, label=line, **looks, markersize=4, linewidth=1.3, capsize=2
      )
    axis.set_title(name, fontsize=9)
    axis.set_xlabel(across, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
  axes[0].set_ylabel(upwards, fontsize=9)
  figure.legend(list(handles.values()), list(handles), loc="outside right center", fontsize=8, frameon=False)
  figure.suptitle(title, fontsize=10)
  return figure
