"""The nouns every search space and every search is made of."""

from dnas.core.architecture import Architecture, ArchitectureRecord, Option
from dnas.core.choice import Choice
from dnas.core.cost_terms import OptionCosts, OptionOperators
from dnas.core.head import HasHead
from dnas.core.mixing import calculate_weighted_sum
from dnas.core.operator import Operator, OperatorCounts, joined
from dnas.core.picture import Picture
from dnas.core.prior import Prior, UniformPrior
from dnas.core.sample import Sample
from dnas.core.supernet import SuperNet

__all__ = [
    "Architecture",
    "ArchitectureRecord",
    "Choice",
    "HasHead",
    "Operator",
    "OperatorCounts",
    "Option",
    "OptionCosts",
    "OptionOperators",
    "Picture",
    "Prior",
    "Sample",
    "SuperNet",
    "UniformPrior",
    "calculate_weighted_sum",
    "joined",
]
