"""SearchSpace: what the scripts need to know of a domain, in one object.

A search space ties a supernet to its data, its task and its flags, so that ``train_dnas.py``,
``train_sampled.py``, the job queue and the reports work on it unchanged::

    class MySpace(SearchSpace):
        name = "my_space"
        config_class = MyConfig          # a frozen dataclass: its fields become flags
        data_class = MyDataConfig        # likewise
        spec_class = MySpec              # likewise: what models must know of the data
        task = dnas.CLASSES
        default_cost = "flops"

        def prepare(self, data_config): ...                  # -> Prepared
        def make_supernet(self, config, spec): ...           # -> SuperNet

    SPACE = MySpace()

and ``--search_space my_package.my_module:SPACE`` finds it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn

from dnas.core import Architecture, SuperNet
from dnas.core.prior import Prior, UniformPrior
from dnas.data.loader import Loader
from dnas.errors import ArchitectureError, ConfigError
from dnas.training.task import Task


class Prepared(Protocol):
    """Data that is ready to be read."""

    @property
    def spec(self) -> Any:
        """What models must know of the data; ``SearchSpace.spec_to_json`` makes JSON of it."""

    @property
    def record(self) -> Mapping[str, Any]:
        """JSON for the run record: sizes, rates, content hashes.

        By ``content_hash``, and by ``split`` with the ``hash`` of each of its ``parts``, a job
        knows that checkpoints and supernets' weights are of the same rows. ``loss_settings`` are
        flags of the data on which losses depend: checkpoints and scores must agree on them too.
        """

    def loader(
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        device: torch.device | None,
        flag: str,
    ) -> Loader:
        """Batches of a split: ``weights``, ``theta``, ``train``, ``validation`` or ``test``.

        ``flag`` is how the batch size is called in error messages.
        """


class SearchSpace(ABC):
    """A domain for the scripts. Subclasses are stateless; one instance serves everything."""

    name: ClassVar[str]
    """What ``--search_space`` says; also the name in architecture files."""
    config_class: ClassVar[type]
    """Frozen dataclass of the supernet's settings; every field becomes a flag."""
    data_class: ClassVar[type]
    """Frozen dataclass of the data's settings; every field becomes a flag."""
    spec_class: ClassVar[type | None] = None
    """Dataclass of the data's spec, with fields of JSON values (tuples for lists). With it,
    ``spec_to_json`` and ``spec_from_json`` need not be written."""
    task: ClassVar[Task]
    """What is trained and measured; :meth:`task_of` says where settings decide it."""
    default_cost: ClassVar[str]
    """The cost that counts where none is named: one of ``SuperNet.expected_cost``."""
    judging_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of ``config_class`` that say how models are judged, and neither shape nor train their
    weights: a trained supernet may be searched with others."""
    one_shot_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of ``config_class`` that say how a supernet is trained path by path, and no more: with
    others an architecture is the same network. A gradient search refuses all but their defaults."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse a space whose architecture files nobody could read, before it has written any."""
        if cls.spec_class is None and cls.spec_from_json is SearchSpace.spec_from_json:
            raise TypeError(
                f"{cls.__name__}: set spec_class to the dataclass of the data's spec, or write "
                "spec_from_json"
            )
        return super().__new__(cls)

    @abstractmethod
    def prepare(self, data_config: Any) -> Prepared:
        """Open (or first build) the data."""

    @abstractmethod
    def make_supernet(self, config: Any, spec: Any) -> SuperNet:
        """A freshly initialised supernet."""

    def task_of(self, config: Any) -> Task:
        """The task in a configuration; override where loss or selection are settings."""
        return self.task

    def make_model(self, config: Any, spec: Any, architecture: Architecture) -> nn.Module:
        """The discrete model, freshly initialised.

        The default builds a supernet first; override where that would take much memory.
        """
        return self.make_supernet(config, spec).build(architecture)

    def prior(self, config: Any, super_net: SuperNet) -> Prior:
        """Where paths, candidates and mutations come from; by default uniform draws."""
        return UniformPrior(super_net)

    def spec_to_json(self, spec: Any) -> dict[str, Any]:
        """``spec`` as JSON values; by default the fields of a ``spec_class``, else what
        ``spec.to_json()`` gives.

        Raises:
            ConfigError: A field of a ``spec_class`` has a value that JSON does not keep.
        """
        if self.spec_class is None:
            return spec.to_json()
        try:
            value = json.loads(json.dumps(asdict(spec)))
        except TypeError as error:
            raise ConfigError(f"{self._spec_advice()}: {error}") from error
        if self.spec_from_json(value) != spec:
            raise ConfigError(f"{self._spec_advice()}: {spec} would come back as another one")
        return value

    def spec_from_json(self, value: Mapping[str, Any]) -> Any:
        """The spec that ``spec_to_json`` described; lists become tuples, also inside of lists.

        Raises:
            ArchitectureError: The keys are not those of the ``spec_class``.
        """
        assert self.spec_class is not None
        try:
            return self.spec_class(**{name: _tuples(entry) for name, entry in value.items()})
        except TypeError as error:
            raise ArchitectureError(
                f"the data spec does not fit search space {self.name!r}: {error}"
            ) from error

    def _spec_advice(self) -> str:
        return (
            f"{type(self).__name__}.spec_class: use numbers, strings and tuples, or write "
            "spec_to_json and spec_from_json"
        )

    def published_architecture(
        self, value: Any, source: str, super_net: SuperNet
    ) -> Architecture | None:
        """An architecture from a file in a form that others publish; None: not one of ours.

        Args:
            value: JSON of the file.
            source: Its name, for errors.
            super_net: Of this space.

        Raises:
            ArchitectureError: It is wrong, or not in this space as it is configured.
        """
        return None

    def complexity(self, config: Any, spec: Any, architecture: Architecture) -> dict[str, Any]:
        """What ``dnas cost`` prints of an architecture beside the costs in its file."""
        return {}

    def cost_report(self, value: Any, source: str, data_set: str | None) -> dict[str, Any] | None:
        """Costs of an architecture file in a form that others publish; None: not one of ours.

        Args:
            value: JSON of the file.
            source: Its name, for errors.
            data_set: Columns to count for, where the file does not say; None: not stated.

        Raises:
            DnasError: It is one of this space's, and wrong.
        """
        return None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
