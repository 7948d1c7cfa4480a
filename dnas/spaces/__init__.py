"""Search spaces as the scripts see them."""

from dnas.spaces.base import Prepared, SearchSpace
from dnas.spaces.checks import check_params, prepared_by, prior_of, supernet_of
from dnas.spaces.files import build_model, load_architecture, load_model, make_record, space_config
from dnas.spaces.latency import LATENCY, LatencyTable, SpaceLatency
from dnas.spaces.overrides import costs_of, overridden
from dnas.spaces.registry import find_space, known_spaces, register

__all__ = [
    "LATENCY",
    "LatencyTable",
    "Prepared",
    "SearchSpace",
    "SpaceLatency",
    "build_model",
    "check_params",
    "costs_of",
    "find_space",
    "known_spaces",
    "load_architecture",
    "load_model",
    "make_record",
    "overridden",
    "prepared_by",
    "prior_of",
    "register",
    "space_config",
    "supernet_of",
]
