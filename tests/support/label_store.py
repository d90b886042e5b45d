"""A folder of pictures in memory: names alone, and the tables beside them."""

import io


class LabelStore:
  """What `label_files.read` needs of a store; no picture is ever opened."""

  where, left_out = "faces", {}

  def __init__(self, names, tables):
    self.names, self.tables = list(names), list(tables)
    self._bytes = {name: data if isinstance(data, bytes) else data.encode() for name, data in tables.items()}

  def open(self, name):
    return io.BytesIO(self._bytes[name])

  def beside(self):
    return []
