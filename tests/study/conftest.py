"""No process outlives its test."""

