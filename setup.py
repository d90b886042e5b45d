"""Installs pdr_jax. No compiler, no TensorFlow, no CUDA toolkit needed.

Lower bounds stand here, tested versions in requirements.lock and requirements-py312.lock. The folder
`configs` is the package `pdr_jax.configs` of an installation, so that `--config quickstart` works without a
checkout.
"""

import pathlib
import re

from setuptools import find_packages, setup

root = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (root / "pdr_jax/__init__.py").read_text()).group(1)

setup(
    name="pdr_jax",
    version=version,
    description="Disentangled representations of scenes in JAX: depth, albedo, light, viewpoint from images",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[*find_packages(include=["pdr_jax", "pdr_jax.*"]), "pdr_jax.configs", "pdr_jax.configs.eval"],
    package_dir={"pdr_jax.configs": "configs"},
    package_data={"pdr_jax": ["pretrained/*", "report/html/*"]},
    python_requires=">=3.11",
    install_requires=[
        "jax>=0.10",
        "flax>=0.12",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "ml-collections>=1.1",
        "absl-py>=2.1",
        "etils[epath]>=1.9",
        "numpy>=2.0",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources>=6.4",  # tensorflow-datasets needs it and does not say so
        "array_record>=0.8.1",
        "flatbuffers>=24.3",  # jax.export reads and writes with it, and does not say so
        "grain>=0.2.15",
        "jaxtyping>=0.3",
        "matplotlib>=3.9",
        "opencv-python-headless>=4.10",
        "pillow>=11",
        "rich>=13.9",
        "safetensors>=0.5",
        "scikit-learn>=1.6",
        "scipy>=1.15",
        "setproctitle>=1.3",
        "tensorboardX>=2.6.2",
        "trimesh>=4.6",
        "PyMCubes>=0.1.6",
    ],
    extras_require={
        "test": [
            "beartype>=0.20",
            "hypothesis>=6.120",
            "import-linter>=2.5",
            "pandas>=2.2",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            "setuptools>=77",
        ],
        "cuda": ["jax[cuda13]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        # --workdir gs://...: epath reads and writes through it, TensorBoard through its google-cloud-storage
        "gcs": ["gcsfs>=2025.3"],
        "face": ["scikit-image>=0.25"],  # decompose --crop auto: its wheel carries OpenCV's LBP cascade
        "torch": ["torch>=2.6"],
        "tf": ["tensorflow>=2.19"],
        "tensorboard": ["tensorboard>=2.18"],  # shows WORKDIR/tensorboard; nothing here imports it
    },
)
