"""The report as one HTML document, with every text escaped and every picture inside.

A content policy lets nothing be fetched.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from PIL import Image

from pdr_jax.plots import sheets, style
from pdr_jax.plots.style import Plot
from pdr_jax.report import plots, stage
from pdr_jax.report.pictures import SIDE, Pictures
from pdr_jax.report.runs import Run

LARGEST_SHOWN = 128  # pixels; larger pictures are made smaller for the galleries


def document(runs: Sequence[Run], drawn: Sequence[Plot], shown: Mapping[str, Pictures | str]) -> str:
  """The page. `shown` has the pictures of each run, or why there are none."""
  title = "Report of " + ", ".join(run.name for run in runs)
  faces = []
  for name, pictures in shown.items():
    if not isinstance(pictures, str) and pictures.faces:
      faces += _faces(name, pictures)
  over_steps = [plot for plot in drawn if plot.name.startswith(plots.COURSE)]
  tables = (f'<div class="results">{markdown(table)}</div>' for run in runs for table in run.tables)
  sections = {
      "Runs": _summary(runs),
      "Stage": _stage(faces),
      "Curves": _plots(over_steps),
      "Results": "".join(tables),
      "Robustness and factors": _plots([plot for plot in drawn if plot not in over_steps]),
      "Clips": "".join(_media(run) for run in runs),
  }
  for name, pictures in shown.items():
    sections |= _run_sections(name, pictures)
  return _html(title, {name: body for name, body in sections.items() if body}, faces)


def _html(title: str, sections: Mapping[str, str], faces: Sequence[dict]) -> str:
  """The document of these sections, with the stage's script where there are faces."""
  anchors = {name: f"section-{i}" for i, name in enumerate(sections)}
  links = "".join(f'<a href="#{anchors[name]}">{_text(name)}</a>' for name in sections)
  bodies = "".join(
      f'<section id="{anchors[name]}"><h2>{_text(name)}</h2>{body}</section>'
      for name, body in sections.items()
  )
  script = asset("stage.js") if faces else ""
  policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {_source(script)}"
  data = f'<script id="faces" type="application/json">{_json(faces)}</script><script>{script}</script>'
  return (
      '<!doctype html><html lang="en"><head><meta charset="utf-8">'
      '<meta name="viewport" content="width=device-width, initial-scale=1">'
      '<meta name="color-scheme" content="light dark">'
      f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
      f'<title>{_text(title)}</title><style>{asset("page.css")}</style></head>'
      f'<body><header><h1>{_text(title)}</h1><nav aria-label="Sections">{links}</nav></header>'
      f'<main>{bodies}</main>{data if script else ""}</body></html>\n'
  )


def asset(name: str) -> str:
  """The text of a file of `report/html`."""
  return resources.files("pdr_jax.report").joinpath("html", name).read_text(encoding="utf-8")


def markdown(text: str) -> str:
  """The Markdown of evaluations and studies as HTML: headings, tables, lists, bold, paragraphs."""
  parts, rows = [], []
  for line in [*text.splitlines(), ""]:
    if line.startswith("|"):
      rows.append([_bold(cell.strip()) for cell in line.strip("| ").split(" | ")])
      continue
    if rows:
      parts.append(_table(rows[0], rows[2:]))  # rows[1] is the rule
      rows = []
    if line.startswith("#"):
      level = min(len(line) - len(line.lstrip("#")) + 2, 6)
      parts.append(f"<h{level}>{_bold(line.lstrip('# '))}</h{level}>")
    elif line:
      parts.append(f"<p>{_bold(line.removeprefix('* '))}</p>")
  return "".join(parts)


# ---------------------------------------------------------------- sections


def _summary(runs: Sequence[Run]) -> str:
  names = sorted({name for run in runs for name in run.summary.get("validation", {})})
  rows = []
  for run in runs:
    if run.config is None:
      rows.append([_text(run.name), f"study of {len(run.results)} methods", "", "", *("" for _ in names)])
      continue
    data, scores = run.config.data, run.summary.get("validation", {})
    steps = max((record["step"] for record in run.records), default=0)
    what = _text(f"{data.name}, {data.side} x {data.side}")
    numbers = [_number(scores.get(name)) for name in names]
    rows.append([_text(run.name), _text(run.config.method), what, f"{steps:,}", *numbers])
    for title, scores in run.summary.get("baselines", {}).items():
      numbers = [_number(scores.get(name)) for name in names]
      rows.append([_text(f"{run.name}: {title}"), "baseline", "", "", *numbers])
  titles = [_text(name.removeprefix("val/").replace("_", " ")) for name in names]
  return _table(["run", "method", "data", "steps", *titles], rows)


def _plots(drawn: Sequence[Plot]) -> str:
  figures = []
  for plot in drawn:
    title = _text(plot.title)
    inside = f"{style.svg(plot)}<figcaption>{title}</figcaption>"
    figures.append(f'<figure role="img" aria-label="{title}">{inside}</figure>')
  return "".join(figures)


def _media(run: Run) -> str:
  """Pictures and animations of an evaluation; those that move play by themselves."""
  figures = []
  for title, data in run.media:
    kind = "gif" if data.startswith(b"GIF8") else "png"
    text = _text(f"{run.name}, {title}")
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    figures.append(f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>')
  return "".join(figures)


def _run_sections(name: str, pictures: Pictures | str) -> dict[str, str]:
  if isinstance(pictures, str):
    return {f"{name}: pictures": f"<p>There are none: {_text(pictures)}.</p>"}
  checkpoint = f"<p>Checkpoint of step {pictures.step:,}.</p>"
  sections = {f"{name}: validation images": checkpoint + _sheet(pictures.gallery)}
  if pictures.swaps:
    inputs = _images(pictures.gallery["input"][: len(pictures.swaps["light"])], "input")
    grids = (
        f"<figure>{_grid(inputs, swapped, factor)}"
        f"<figcaption>{factor} of the column on the face of the row</figcaption></figure>"
        for factor, swapped in pictures.swaps.items()
    )
    sections[f"{name}: swapped factors"] = f'<div class="side">{"".join(grids)}</div>'
  if pictures.turned:
    strips = "".join(_strips(angle, turned) for angle, turned in pictures.turned.items())
    help_text = "<p>Scroll a picture sideways, or use the arrow keys, to turn it.</p>"
    sections[f"{name}: other viewpoints"] = help_text + strips
  if pictures.score:
    name_of_score = pictures.score.removeprefix("val/")
    scaled, title = (100, "SIDE x 100") if pictures.score == SIDE else (1, name_of_score)
    text = f"The worst validation images by {title}; the median is {_number(scaled * pictures.median)}."
    notes = {title: [_number(scaled * value) for value in pictures.scores]}
    sections[f"{name}: failures"] = f"<p>{_text(text)}</p>" + _sheet(pictures.failures, notes)
  return sections


def _strips(angle: str, turned: np.ndarray) -> str:
  """Pictures of which each shows one of many viewpoints, and the others when it is scrolled."""
  strips = "".join(
      f'<div class="strip" tabindex="0" role="group" aria-label="{_text(angle)} of picture {i + 1}">'
      f'{"".join(_images(frames, angle))}</div>'
      for i, frames in enumerate(turned)
  )
  return f'<figure><div class="side">{strips}</div><figcaption>{_text(angle)}</figcaption></figure>'


def _stage(faces: Sequence[dict]) -> str:
  if not faces:
    return ""
  buttons = "".join(
      f'<button type="button" aria-pressed="false" aria-label="{_text(face["label"])}">'
      f'{face.pop("thumbnail")}</button>'
      for face in faces
  )
  modes = "".join(
      f'<label><input type="radio" name="mode" data-stage="{mode}"'
      f'{" checked" if mode == "lit" else ""}> {mode}</label>'
      for mode in ("lit", "albedo", "shading", "normals")
  )
  bands = ("ambient light (band 0)", "direction (band 1)", "detail (band 2)")
  sliders = "".join(
      f'<label>{text} <input type="range" min="0" max="2" step="0.01" value="1" '
      f'data-stage="band{band}"></label>'
      for band, text in enumerate(bands)
  )
  return f"""<div id="stage">
<div class="faces" data-stage="faces" role="group" aria-label="Faces">{buttons}</div>
<div class="side"><canvas data-stage="canvas" width="480" height="480" tabindex="0" role="img"
aria-describedby="stage-help" aria-label="The face; drag it, or use the arrow keys, to turn it"></canvas>
<div class="controls"><fieldset><legend>Show</legend>{modes}</fieldset>
<fieldset><legend>Light</legend><svg data-stage="light" viewBox="-1.1 -1.1 2.2 2.2" tabindex="0" role="img"
aria-label="Where the light comes from; drag the dot, or use the arrow keys">
<circle r="1" class="disc"/><path d="M-1 0H1M0 -1V1" class="disc"/>
<circle data-stage="handle" r="0.1" class="dot"/></svg>{sliders}</fieldset>
<p><button type="button" data-stage="fitted">As in the picture</button>
<button type="button" data-stage="front">From the front</button></p>
<p data-stage="status" role="status" aria-live="polite"></p>
<p id="stage-help">Drag the face to turn it and the dot to move the light; arrow keys do the same. The light
turns with the face.</p>
<noscript><p>The stage needs JavaScript.</p></noscript></div></div></div>"""


def _faces(name: str, pictures: Pictures) -> list[dict]:
  labels = [f"{name}, face {i + 1}" for i in range(len(pictures.faces["depth"]))]
  packed = stage.pack(pictures.faces, pictures.fov, labels)
  thumbnails = _images(pictures.faces["image"], "")
  return [face | {"thumbnail": thumbnail} for face, thumbnail in zip(packed, thumbnails, strict=False)]


# ---------------------------------------------------------------- pieces


def _sheet(columns: Mapping[str, np.ndarray], notes: Mapping[str, list[str]] | None = None) -> str:
  """One row for each picture, one column for each entry; `notes` are columns of text in front."""
  notes = notes or {}
  titles = [sheets.column(name).title for name in columns]
  pictures = [_images(values, sheets.column(name).title, name) for name, values in columns.items()]
  rows = [
      [*(column[i] for column in notes.values()), *row] for i, row in enumerate(zip(*pictures, strict=True))
  ]
  return _table([*map(_text, notes), *map(_text, titles)], rows, "pictures")


def _grid(inputs: list[str], swapped: np.ndarray, factor: str) -> str:
  rows = [[inputs[i], *_images(row, f"{factor} swapped")] for i, row in enumerate(swapped)]
  return _table(["", *inputs], rows, "pictures")


def _images(values: np.ndarray, title: str, name: str = "") -> list[str]:
  """`<img>` of pictures `[N,S,S,C]` in [-1, 1] or of maps `[N,S,S]`, which share one scale."""
  pictures = sheets.coloured(name, values)
  return [f'<img alt="{_text(title)}" src="data:image/png;base64,{_png(picture)}">' for picture in pictures]


def _png(picture: np.ndarray) -> str:
  image = Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
  image.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN), Image.Resampling.BOX)
  buffer = io.BytesIO()
  image.save(buffer, format="PNG", optimize=True)
  return base64.b64encode(buffer.getvalue()).decode()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
  """A table of cells that are HTML already; the first cell of a row of numbers is its heading."""

  def cells(texts: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)

  first = "th" if kind == "numbers" else "td"
  body = "".join(f"<tr>{cells(row[:1], first)}{cells(row[1:], 'td')}</tr>" for row in rows)
  header = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
  return f'<div class="wide"><table class="{kind}">{header}<tbody>{body}</tbody></table></div>'


def _number(value: float | None) -> str:
  return "" if value is None else f"{value:.4g}"


def _bold(text: str) -> str:
  return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", _text(text))


def _text(text: str) -> str:
  return html.escape(str(text), quote=True)


def _json(value: object) -> str:
  """JSON that ends no script element."""
  return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _source(script: str) -> str:
  """The one script that the page may run, for its content policy."""
  return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
