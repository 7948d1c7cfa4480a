"""Retrieval data: interactions, their splits and protocols, and loaders for two-tower models."""

from dnas.data.retrieval.batch import TowerBatch
from dnas.data.retrieval.config import RetrievalDataConfig
from dnas.data.retrieval.frequency import StreamingFrequency
from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.prepare import RetrievalData, prepare_retrieval
from dnas.data.retrieval.relevance import TEST_PROTOCOLS, Protocol, is_ranking, pack, unpack
from dnas.data.retrieval.serving import UserRequests, corpus_inputs, user_requests
from dnas.data.retrieval.spec import TowerSpec

__all__ = [
    "TEST_PROTOCOLS",
    "Interactions",
    "Protocol",
    "RetrievalData",
    "RetrievalDataConfig",
    "StreamingFrequency",
    "TowerBatch",
    "TowerSpec",
    "UserRequests",
    "corpus_inputs",
    "is_ranking",
    "pack",
    "prepare_retrieval",
    "unpack",
    "user_requests",
]
