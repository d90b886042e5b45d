"""The command line: every command explains its flags, and every mistake is one line and exit code 2."""

import errno
import io
import os
import subprocess
import sys

import pytest

from pdr_jax.cli import (
  commands,
  configurations,
  decompose,
  evaluate,
  export,
  flags,
  forecast,
  import_torch,
  report,
  study,
  train,
)
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_text

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASE = """
from pdr_jax.config import base
def get_config(variant=""):
  if variant not in ("", "wide"):
    raise ValueError(f"unknown variant {variant!r}")
  return base()
"""
README_FLAGS = {
  "pdr_jax.main": ["--config", "--workdir", "--override_config"],
  "pdr_jax.evaluate": ["--config", "--workdir", "--method", "--export"],
  "pdr_jax.study": ["--config", "--workdir", "--workers", "--only", "--status", "--into", "--with"],
  "pdr_jax.forecast": ["--workdir", "--frames", "--clips", "--checkpoint"],
  "pdr_jax.decompose": ["--export", "--out", "--crop", "--mesh", "--lit_mesh", "--force"],
  "pdr_jax.export": ["--workdir", "--out", "--checkpoint", "--licence", "--half", "--force"],
  "pdr_jax.report": ["--workdir", "--out", "--figures", "--force"],
  "pdr_jax.imports.torch_checkpoint": ["--checkpoint", "--out", "--config", "--licence", "--force"],
}


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "some_config.py"
  path.write_text(BASE)
  return str(path)


def parse(*words):
  """The values of the training command's flags and its configuration."""
  values = flags.parse(train.COMMAND, ["main", *map(str, words)])
  return values, flags.configuration(values)


def test_overrides_reach_the_config(config_file):
  overrides = [
    "--config.data.side=32",
    "--config.loss.flip=1",
    "--noconfig.data.flip",
    "--config.loocc.factors=('light',)",
    "--config.train.steps",
    "7",
    "-config.seed=3",
  ]
  values, config = parse("--config", config_file + ":wide", "--workdir=~/x", *overrides, "--override_config")
  read = (
    config.data.side,
    config.loss.flip,
    config.data.flip,
    config.loocc.factors,
    config.train.steps,
    config.seed,
  )
  assert read == (32, 1.0, False, ("light",), 7, 3)
  assert values.workdir == os.path.expanduser("~/x") and values.override_config


@pytest.mark.parametrize(
  "text, like, value",
  [
    ("7", 1, 7),
    ("-1e-3", 1.0, -1e-3),
    ("3", 1.0, 3.0),
    ("True", False, True),
    ("f", True, False),
    ("a=b, c", "", "a=b, c"),
    ("()", (1,), ()),
    ("(1, 2)", (), (1, 2)),
    ("[1, 2]", (), (1, 2)),
    ("'a', 'b'", (), ("a", "b")),
    ("a,b", (), ("a", "b")),
    ("linear", (), ("linear",)),
    ("12", (), (12,)),
  ],
)
def test_a_text_becomes_a_value_of_its_keys_type(text, like, value):
  read = configurations.value_of(text, like)
  assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
  "text, like",
  [
    ("7.5", 1),
    ("x", 1.0),
    ("perhaps", True),
    ("(1,", ()),
    ("{1: 2}", ()),
    ("__import__('os')", ()),
    ("9" * 5000, 1),
  ],
)
def test_a_text_that_is_no_value_is_refused(text, like):
  with pytest.raises(ValueError):
    configurations.value_of(text, like)


@pytest.mark.parametrize(
  "words, message",
  [
    (["--config.data.sid=3"], "config.data.sid is unknown; did you mean config.data.side?"),
    (["--config.dta.side=3"], "did you mean config.data.side?"),
    (["--config.data=3"], "config.data is a section"),
    (["--config.data.side=abc"], "config.data.side = abc: must be int"),
    (["--config.data.side=32.5"], "config.data.side = 32.5: must be int"),
    (["--config.data.flip=perhaps"], "config.data.flip = perhaps: must be bool"),
    (["--config.optim.learning_rate=fast"], "config.optim.learning_rate = fast: must be float"),
    (["--config.data.side"], "config.data.side has no value"),
    (["--wrokdir=x"], "--wrokdir is no flag of python -m pdr_jax.main; did you mean --workdir?"),
    (["stray"], "unrecognized arguments: stray"),
  ],
)
def test_bad_flags_are_one_line(config_file, words, message):
  with pytest.raises(UserError) as error:
    parse("--config", config_file, "--workdir", "w", *words)
  assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
  "content, message",
  [
    ("def get_config(:\n", "SyntaxError: invalid syntax"),
    ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("x = 1\n", "has no attribute 'get_config'"),
    ("def get_config():\n  return {}\n", "returns dict and not a ConfigDict"),
    ("def get_config():\n  raise ValueError('first\\nlast')\n", "some.py: last"),
  ],
)
def test_bad_config_files_are_one_line(tmp_path, content, message):
  (tmp_path / "some.py").write_text(content)
  with pytest.raises(UserError) as error:
    parse("--config", tmp_path / "some.py", "--workdir", "w")
  assert message in str(error.value) and "\n" not in str(error.value)


def test_what_is_missing_is_named(config_file):
  with pytest.raises(UserError, match="unknown variant 'tall'"):
    parse("--config", config_file + ":tall", "--workdir", "w")
  with pytest.raises(UserError, match="missing: --workdir"):
    parse("--config", config_file)
  with pytest.raises(UserError, match="--config is missing"):
    parse("--workdir", "w", "--config.data.side=3")
  with pytest.raises(UserError, match="has no variants: leave out :x"):
    parse("--config", "yale_b:x", "--workdir", "w")


@pytest.mark.parametrize(
  "name",
  [
    "quickstart",
    "quickstart.py",
    "configs/quickstart.py",
    "./configs/quickstart.py",
    os.path.join(ROOT, "configs/quickstart.py"),
  ],
)
def test_a_shipped_configuration_is_known_by_name_and_path_from_any_folder(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert configurations.load(f"{name}:unsup3d").loocc.weight == 0
  assert configurations.find("yale_b") == configurations.find("configs/eval/yale_b.py")
  (tmp_path / "quickstart.py").write_text(BASE)  # a file that is there wins over a shipped one of that name
  assert configurations.find("quickstart.py") == "quickstart.py"


def test_an_unknown_configuration_lists_near_ones_and_all():
  expected = r"did you mean quickstart.*\? There are cars, .*, eval/yale_b"
  with pytest.raises(UserError, match=expected) as error:
    configurations.find("configs/quikstart.py")
  assert "no such file" in str(error.value)


def test_the_method_comes_before_the_other_keys(monkeypatch):
  """Keys of the new method are known wherever they stand, and keys of PDR are not.

  The configuration is one of PDR.
  """
  _, config = parse(
    "--config=quickstart", "--workdir=w", "--config.beta_vae.gamma=5", "--config.method=beta_vae"
  )
  assert config.method == "beta_vae" and config.beta_vae.gamma == 5.0
  assert config.data.side == 32 and config.train.steps == 1_000  # what the file says of common keys stays


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.module)
def test_help_lists_every_flag_with_its_meaning_and_an_example(command, capsys):
  with pytest.raises(SystemExit) as done:
    flags.parse(command, [command.module, "--help"])
  text = capsys.readouterr().out
  assert (
    done.value.code == 0
    and all(example in text for example in command.examples)
    and command.summary in " ".join(text.split())
  )
  actions = flags._Parser(command)._actions
  assert all(action.help for action in actions)
  assert set(README_FLAGS[command.module]) <= {name for action in actions for name in action.option_strings}
  for example in command.examples:
    assert example.startswith(f"python -m {command.module} ")


def test_what_was_a_flag_of_the_evaluation_is_a_command_of_its_own():
  with pytest.raises(UserError, match=r"now: python -m pdr_jax\.study --config suite:cars --workdir /w"):
    evaluate.main(["evaluate", "--suite", "suite:cars", "--workdir", "/w"])


def test_a_study_needs_a_configuration_once(tmp_path):
  with pytest.raises(UserError, match=r"--config is missing, and .* holds no study yet"):
    study.main(["study", "--workdir", str(tmp_path), "--status"])
  with pytest.raises(UserError, match="--with has no meaning without --into"):
    study.main(["study", "--workdir", str(tmp_path), "--with", str(tmp_path)])


def test_without_arguments_the_help_is_printed(capsys):
  with pytest.raises(SystemExit) as done:
    flags.parse(train.COMMAND, ["main"])
  assert done.value.code == 2 and "--workdir DIR" in capsys.readouterr().out


def test_the_list_of_commands_names_all_of_them(capsys):
  assert commands.main(["pdr_jax"]) == 0
  text = capsys.readouterr().out
  assert all(f"python -m {name}" in text for name in README_FLAGS) and "quickstart" in text
  with pytest.raises(UserError, match=r"takes no 'train': the commands are pdr_jax\.main, "):
    commands.main(["pdr_jax", "train"])


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 2)])
def test_names_in_another_alphabet_end_nothing_on_an_ascii_terminal(monkeypatch, fails, code):
  streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
  monkeypatch.setattr(sys, "stdout", streams[0])
  monkeypatch.setattr(sys, "stderr", streams[1])

  def main(argv):
    print("müde: 日本")
    if fails:
      raise UserError("data.path=/ä does not exist")
    return 0

  with pytest.raises(SystemExit) as done:
    flags.start(main)
  written = [stream.buffer.getvalue() for stream in streams]  # nobody has flushed them
  assert done.value.code == code and written[0] == b"m\\xfcde: \\u65e5\\u672c\n"
  assert written[1] == (b"error: data.path=/\\xe4 does not exist\n" if fails else b"")


@pytest.mark.parametrize("number, code", [(errno.ENOSPC, 2), (errno.ENOTDIR, 2), (errno.ENOENT, None)])
def test_a_file_that_cannot_be_written_is_one_line_and_a_missing_one_a_fault_of_ours(number, code, capsys):
  def main(argv):
    raise OSError(number, os.strerror(number), "/full/table.md")

  with pytest.raises(SystemExit if code else OSError) as done:
    flags.start(main)
  line = f"error: /full/table.md cannot be written or read: {os.strerror(number)}\n" if code else ""
  assert getattr(done.value, "code", None) == code and capsys.readouterr().err == line


@pytest.mark.parametrize("length", [1, 240, 255])
def test_names_as_long_as_the_disk_takes_are_written(length, tmp_path):
  write_text(str(tmp_path / ("x" * length)), "text")
  assert os.listdir(tmp_path) == ["x" * length] and (tmp_path / ("x" * length)).read_text() == "text"


@pytest.mark.parametrize("name", ["x" * 256, "x" * 256 + "/factors.json"])
def test_a_name_that_is_too_long_is_one_line_that_says_which(name, tmp_path, capsys):
  with pytest.raises(SystemExit) as done:
    flags.start(lambda argv: write_text(str(tmp_path / name), "text"))
  line = f"error: {tmp_path / ('x' * 256)} cannot be written or read: {os.strerror(errno.ENAMETOOLONG)}\n"
  assert done.value.code == 2 and capsys.readouterr().err == line and not os.listdir(tmp_path)


@pytest.mark.parametrize("reason", [(errno.ENOSPC, os.strerror(errno.ENOSPC)), ("no such mode",)])
def test_an_error_of_the_disk_names_the_file_and_others_keep_their_words(reason, tmp_path):
  def fail(file):
    raise OSError(*reason)

  path = str(tmp_path / "table.md")
  with pytest.raises(OSError) as caught:
    write_atomically(path, fail)
  wanted = OSError(*reason, path) if len(reason) > 1 else OSError(*reason)
  assert str(caught.value) == str(wanted) and not os.listdir(tmp_path)


@pytest.mark.parametrize("command, flag", [(export, "--out"), (decompose, "--out"), (train, "--workdir")])
def test_an_empty_path_is_not_the_folder_at_hand(command, flag):
  """As `--out "$OUT"` is where the variable is not set."""
  with pytest.raises(UserError, match=f"{flag} is empty"):
    command.main(["command", flag, ""])


@pytest.mark.parametrize(
  ("command", "words"),
  [
    (export, ["--workdir=run", "--out"]),
    (import_torch, ["--checkpoint=x.pth", "--out"]),
    (decompose, ["x.png", "--out"]),
    (report, ["--workdir=run", "--out"]),
    (report, ["--workdir=run", "--out=report.html", "--figures"]),
    (forecast, ["--workdir=run", "--out"]),
    (study, ["--workdir=run", "--into"]),
  ],
)
def test_what_is_written_on_disks_alone_is_not_written_beside_a_bucket(command, words, tmp_path, monkeypatch):
  """Else gs://bucket/x would be a folder called gs: in the folder at hand."""
  monkeypatch.chdir(tmp_path)
  line = f"{words[-1]} gs://bucket/x: must be on a disk; mount the bucket, or choose another place"
  with pytest.raises(UserError, match=f"^{line}$"):
    command.main(["command", *words, "gs://bucket/x"])
  assert not os.listdir(tmp_path)


def test_a_home_folder_that_the_shell_has_not_put_in_is_put_in(monkeypatch):
  monkeypatch.setenv("HOME", "/home/somebody")
  assert flags.out("~/exported") == "/home/somebody/exported" and flags.out("out") == "out"


def test_a_folder_whose_name_is_no_text_to_the_process_is_refused_before_any_work():
  """As `LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0` hands over a name with an umlaut."""
  name = "zwölf".encode().decode("ascii", "surrogateescape")
  with pytest.raises(UserError, match=r"is no text in this terminal's encoding, .*: set PYTHONUTF8=1"):
    train.main(["main", "--config=quickstart", f"--workdir={name}"])
  assert flags.workdir("/zwölf") == "/zwölf"


def test_a_document_may_name_files_whose_names_are_no_text(tmp_path):
  write_text(str(tmp_path / "table.md"), "zw\udcc3\udcb6lf: ü")
  assert (tmp_path / "table.md").read_text(encoding="utf-8") == "zw\\udcc3\\udcb6lf: ü"


def test_an_ascii_terminal_gets_the_line_of_a_mistake(tmp_path):
  command = [sys.executable, "-m", "pdr_jax.main", "--config", "größe", "--workdir", str(tmp_path / "ä")]
  environment = os.environ | {"PYTHONIOENCODING": "ascii"}
  done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT)
  assert done.returncode == 2 and done.stderr.startswith(b"error: --config gr\\xf6\\xdfe: no such file")
  assert done.stderr.count(b"\n") == 1


def test_a_path_for_a_set_that_reads_none_is_of_pictures_and_that_is_said(tmp_path, capsys):
  path = f"--config.data.path={tmp_path}"
  _, config = parse("--config", "quickstart", "--workdir", "x", path)
  assert config.data.name == "image_folder" and config.data.path == str(tmp_path)
  said = "data.path is given, and heads reads none: data.name=image_folder is used\n"
  assert capsys.readouterr().out == said
  for words, name in (
    (["quickstart", path, "--config.data.name=heads"], "heads"),  # is refused when the data are opened
    (["quickstart", path, "--config.data.name=utkface"], "utkface"),
    (["utkface", path], "image_folder"),
    (["quickstart", "--config.data.path="], "heads"),
    (["quickstart"], "heads"),
  ):
    _, config = parse("--config", words[0], "--workdir", "x", *words[1:])
    assert config.data.name == name and capsys.readouterr().out == ""


def test_commands_to_paste_are_quoted():
  assert flags.shown("pdr_jax.evaluate", "--workdir", "my runs/it's") == (
    "python -m pdr_jax.evaluate --workdir 'my runs/it'\"'\"'s'"
  )


def run(*words, cwd=ROOT, path=ROOT):
  command = [sys.executable, "-m", *map(str, words)]
  environment = {**os.environ, "PYTHONPATH": str(path)}
  return subprocess.run(
    command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=500, check=False
  )


def test_exit_codes(config_file, tmp_path):
  """A bad key is found before JAX is imported, a bad value and a workdir after.

  Each is one line and code 2.
  """
  (tmp_path / "file").write_text("")
  for words, message in [
    (["--workdir", tmp_path / "a", "--config.data.sid=3"], "did you mean config.data.side?"),
    (["--workdir", tmp_path / "a", "--config.train.batch_size=0"], "config.train.batch_size = 0"),
    (["--workdir", tmp_path / "file" / "b"], "cannot be written to"),
  ]:
    result = run("pdr_jax.main", "--config", config_file, *words)
    assert result.returncode == 2
    assert (
      result.stderr.startswith("error: ") and message in result.stderr and result.stderr.count("\n") == 1
    ), result.stderr
  assert not (tmp_path / "a").exists()


def test_an_installed_package_has_the_configurations(tmp_path):
  """What `setup.py` copies is enough for `--config quickstart`, without a checkout."""
  build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
  subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
  result = run("pdr_jax.main", "--config", "quikstart", "--workdir", "w", cwd=tmp_path, path=tmp_path / "lib")
  names = ", ".join(configurations.shipped())
  assert result.returncode == 2 and "did you mean quickstart" in result.stderr
  assert f"There are {names}" in result.stderr
  assert (tmp_path / "lib/pdr_jax/pretrained/export.json").exists()
