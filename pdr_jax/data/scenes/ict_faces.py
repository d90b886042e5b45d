"""Faces of the ICT Face Model as an embedded world (being written)."""

from pdr_jax.errors import UserError


class IctFaces:
  @staticmethod
  def source(path):
    raise UserError("data.name=ict_faces is not there yet")
