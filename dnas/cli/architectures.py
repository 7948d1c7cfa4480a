"""``dnas architectures``: write architecture files without a search.

Random ones of any space, to train as a baseline or to rank a supernet's scores against; given
ones: one for each option of some decisions, the other decisions as ``--set`` says; those of other
files, for other data or other settings of the space; or published ones, from files in the form of
their authors.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from dnas.cli.flags import ConfigFlags, early_value, print_config, read_config_file
from dnas.cli.job import set_up_logging
from dnas.cli.run import guarded
from dnas.cli.space_flags import parse_space_flags
from dnas.core import Architecture, ArchitectureRecord, Option, Prior, SuperNet
from dnas.errors import ArchitectureError, ConfigError
from dnas.files import read_json
from dnas.spaces import (
    SearchSpace,
    find_space,
    make_record,
    prepared_by,
    prior_of,
    space_config,
    supernet_of,
)
from dnas.training.seeding import derive_seed, seed_everything

logger = logging.getLogger(__name__)

#: Draws in a row that give nothing new, after which a space is taken to have no more networks.
_MOST_REPEATS = 1000


@dataclass(frozen=True, kw_only=True)
class ArchitecturesFlags:
    """Which architectures to write, and where."""

    search_space: str
    """Name of the space, or package.module:SPACE."""
    out: str
    """Folder for the architecture files; files that are there are never overwritten."""
    random: int = 0
    """Draw so many different networks, as the space's prior draws candidates."""
    seed: int = 1
    """Of the random draws."""
    each: tuple[str, ...] = ()
    """Decisions of which to take every option in turn; of several, every combination."""
    set: tuple[str, ...] = ()
    """DECISION=OPTION for the others; a decision with a single option may be left out."""
    decisions_of: tuple[str, ...] = ()
    """Architecture files of the same space whose decisions to take, whatever their data and their
    other settings were: the same networks on the data and with the settings of this command."""
    published: tuple[str, ...] = ()
    """Files in the form that their authors publish, as in configs/nasrec."""

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ConfigError(f"--random must be at least 1, but got {self.random}")
        ways = (self.random, self.each or self.set, self.decisions_of, self.published)
        if sum(map(bool, ways)) != 1:
            raise ConfigError("give one of --random, --each and --set, --decisions_of, --published")
        for flag in ("decisions_of", "published"):
            files = getattr(self, flag)
            if len({Path(file).stem for file in files}) != len(files):
                raise ConfigError(f"--{flag}: two files of one name in {files}")
        if len(set(self.each)) != len(self.each):
            raise ConfigError(f"--each: a decision occurs twice in {self.each}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``dnas architectures``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv))


def _main(argv: Sequence[str]) -> int:
    space, parsed = parse_space_flags(
        argv,
        {"about": ConfigFlags, "files": ArchitecturesFlags},
        program="dnas architectures",
        description="Write architecture files without a search: random ones, or given ones.",
        file_values=read_config_file(early_value(argv, "config")),
    )
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    set_up_logging()
    _write(space, parsed)
    return 0


def _write(space: SearchSpace, parsed: Any) -> None:
    flags: ArchitecturesFlags = parsed.files
    seed_everything(flags.seed)
    spec = prepared_by(space, parsed.data).spec
    super_net = supernet_of(space, parsed.space, spec)
    provenance: dict[str, Any]
    if flags.random:
        generator = torch.Generator().manual_seed(derive_seed(flags.seed, "architectures"))
        drawn = different_networks(
            super_net, prior_of(space, parsed.space, super_net), flags.random, generator
        )
        chosen = {f"{number:04d}": architecture for number, architecture in enumerate(drawn)}
        provenance = {"kind": "random", "seed": flags.seed}
    elif flags.decisions_of:
        chosen = {
            Path(file).stem: _decisions(space, parsed.space, super_net, file)
            for file in flags.decisions_of
        }
        provenance = {"kind": "given"}
    elif flags.published:
        chosen = {Path(file).stem: _published(space, super_net, file) for file in flags.published}
        provenance = {"kind": "given"}
    else:
        chosen = given_architectures(super_net, flags.each, flags.set)
        provenance = {"kind": "given"}
    files = {Path(flags.out) / f"{stem}.json": found for stem, found in chosen.items()}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise ConfigError(
            f"--out {flags.out}: {there[0]} exists already, and {len(there) - 1} others; give "
            "another folder, or remove them"
        )
    for path, architecture in files.items():
        make_record(
            space, flags.search_space, parsed.space, spec, super_net, architecture, provenance
        ).save(path)
    logger.info("%d architectures in %s", len(files), flags.out)


def _decisions(space: SearchSpace, config: Any, super_net: SuperNet, file: str) -> Architecture:
    record = ArchitectureRecord.load(file)
    if find_space(record.space).name != space.name:
        raise ConfigError(
            f"--decisions_of {file}: an architecture of {record.space}, not of {space.name}"
        )
    was, is_now = vars(space_config(space, record.space_config, file)), vars(config)
    if other := [name for name in was if was[name] != is_now[name]]:
        said = ", ".join(f"{name} was {was[name]!r}, is {is_now[name]!r}" for name in other)
        logger.warning("--decisions_of %s: other settings of the space: %s", file, said)
    try:
        return super_net.validate(record.architecture)
    except ArchitectureError as error:
        raise ConfigError(
            f"--decisions_of {file}: does not fit the space as these flags have it: {error}"
        ) from None


def _published(space: SearchSpace, super_net: SuperNet, file: str) -> Architecture:
    found = space.published_architecture(read_json(file), file, super_net)
    if found is None:
        raise ArchitectureError(
            f"--published {file}: not a form that the search space {space.name} knows"
        )
    return found


def different_networks(
    super_net: SuperNet,
    prior: Prior,
    count: int,
    generator: torch.Generator,
    flag: str = "--random",
    fewer: bool = False,
) -> list[Architecture]:
    """Candidates of ``prior`` in the order drawn, each network once; ``flag`` asked for ``count``.

    Raises:
        ConfigError: The space seems to have fewer networks, and ``fewer`` will not do.
    """
    found: dict[str, Architecture] = {}
    repeats = 0
    while len(found) < count:
        architecture = prior.candidate(generator)
        known = found.setdefault(super_net.canonical(architecture).id, architecture)
        repeats = 0 if known is architecture else repeats + 1
        if repeats == _MOST_REPEATS and fewer:
            break
        if repeats == _MOST_REPEATS:
            raise ConfigError(
                f"{flag} {count}: {len(found)} different networks, and {repeats} draws that gave "
                "no other; ask for fewer"
            )
    return list(found.values())


def given_architectures(
    super_net: SuperNet, each: Sequence[str], settings: Sequence[str]
) -> dict[str, Architecture]:
    """File stem -> architecture: one for each combination of the options of ``each``.

    Args:
        super_net: Says which decisions and options there are.
        each: Decisions, ``"choice/decision"``.
        settings: ``"choice/decision=option"`` for the others.

    Returns:
        Stems are the options, joined by ``+``; without ``each`` the architecture's id.

    Raises:
        ConfigError: A decision or an option is unknown, is given twice, or is missing.
    """
    options = {
        key: [option for option in row if option is not None]
        for choice in super_net.choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }
    fixed: dict[str, Option] = {key: row[0] for key, row in options.items() if len(row) == 1}
    given: set[str] = set(each)
    for setting in settings:
        key, equals, text = setting.rpartition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected DECISION=OPTION")
        if key in given:
            raise ConfigError(f"--set {setting}: {key} is given already")
        given.add(key)
        fixed[key] = _option(options, key, text)
    for key in each:
        _options_of(options, key, "--each")
    found: dict[str, Architecture] = {}
    for taken in itertools.product(*(options[key] for key in each)):
        decisions = {**fixed, **dict(zip(each, taken, strict=True))}
        try:
            architecture = super_net.validate(decisions)
        except ArchitectureError as error:
            raise ConfigError(f"{error}; say with --set DECISION=OPTION") from None
        stem = "+".join(quote(str(option), safe="") for option in taken) or architecture.id
        found[stem] = architecture
    return found


def _options_of(options: dict[str, list[Option]], key: str, flag: str) -> list[Option]:
    if key not in options:
        raise ConfigError(f"{flag} {key}: unknown decision; this space has {sorted(options)[:8]}")
    return options[key]


def _option(options: dict[str, list[Option]], key: str, text: str) -> Option:
    """The option that is spelled ``text``."""
    present = _options_of(options, key, "--set")
    for option in present:
        if str(option).lower() == text.lower():
            return option
    raise ConfigError(f"--set {key}={text}: no such option; the options are {present}")


if __name__ == "__main__":
    sys.exit(main())
