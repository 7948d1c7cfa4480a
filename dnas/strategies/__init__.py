"""Searches."""

from dnas.strategies.search_manager import SampledArchitecture, SearchManager, SearchResult

__all__ = ["SampledArchitecture", "SearchManager", "SearchResult"]
