"""Packaging of dnas; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="dnas",
    version="0.1.0",
    description="Differentiable and weight-sharing neural architecture search for recommenders",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["dnas", "dnas.*", "supernets", "supernets.*"]),
    package_data={"dnas": ["data/files/*/*", "py.typed"]},
    install_requires=[
        "filelock>=3.16",
        "matplotlib>=3.9",
        "numba>=0.61",
        "numpy>=2.0",
        "pandas>=2.2",
        "polars>=1.30",
        "psutil>=6.0",
        "pyarrow>=18.0",
        "rich>=13.9",
        "safetensors>=0.5",
        "seaborn>=0.13.2",
        "torch>=2.6",
        "tyro>=0.9.20",
    ],
    extras_require={
        "ray": ["ray>=2.50"],
        "docs": ["myst-parser>=5.0", "sphinx>=9.0"],
        "faiss": ["faiss-cpu>=1.9"],
        "slurm": ["submitit>=1.5.3"],
        "dev": [
            "hypothesis>=6.120",
            "mypy>=1.15",
            "pandas-stubs",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            "scikit-learn>=1.6",
        ],
    },
    entry_points={
        "console_scripts": ["dnas = dnas.cli.main:main"],
        "dnas.search_spaces": [
            "top_bottom_mlps = supernets.registry:TOP_BOTTOM_MLPS",
            "emb_dim = supernets.registry:EMB_DIM",
            "emb_card = supernets.registry:EMB_CARD",
            "joint = supernets.registry:JOINT",
            "nasrec_full = supernets.nasrec.space:FULL",
            "nasrec_small = supernets.nasrec.space:SMALL",
            "ctr_baselines = supernets.baselines:CTR_BASELINES",
            "tower_baselines = supernets.towers.baselines:TOWER_BASELINES",
            "autotower = supernets.autotower.space:AUTOTOWER",
        ],
    },
)
