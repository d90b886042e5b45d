"""The one exception that is meant for the user's eyes."""


class UserError(Exception):
  """Something the user can mend: one line that names the thing and says what to do.

  `main` prints it and exits with code 2.
  """
