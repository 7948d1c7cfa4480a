"""Data: raw click logs to a columnar store, its splits, and loaders of batches."""

from dnas.data.batch import Bags, Batch, ClickBatch, TensorBatch
from dnas.data.config import DataConfig
from dnas.data.loader import IterableLoader, Loader
from dnas.data.prepare import PreparedData, prepare
from dnas.data.spec import DataSpec
from dnas.data.splits import make_splits, splits_record
from dnas.data.store import Manifest, Store
from dnas.data.store_loader import StoreLoader
from dnas.data.synthetic import Planted, SyntheticSpec, planted
from dnas.data.tensor_data import TensorData

__all__ = [
    "Bags",
    "Batch",
    "ClickBatch",
    "DataConfig",
    "DataSpec",
    "IterableLoader",
    "Loader",
    "Manifest",
    "Planted",
    "PreparedData",
    "Store",
    "StoreLoader",
    "SyntheticSpec",
    "TensorBatch",
    "TensorData",
    "make_splits",
    "planted",
    "prepare",
    "splits_record",
]
