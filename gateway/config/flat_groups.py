"""Tables of ``models.toml`` whose options stand in groups, some of which may also be written without their group.

The same option in both places is a mistake, and each mistake is told where the option is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from gateway.config.table import Mistake, Place, Table, plain


class TableOfGroups(Table):
    """A table with tables in it, the groups of its options."""

    flat_groups: ClassVar[Mapping[str, type[Table]]] = {}
    """The groups whose options may be written in the table itself too, by the names of the groups."""

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find options of groups that are given twice."""
        for name, group in cls._group_of().items():
            if name in given and name in plain(given, group):
                yield Mistake((name,), f"is given in the table {group!r} of this model too; give it once")

    @classmethod
    def arranged(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put options of groups that are written without one where they belong."""
        group_of = cls._group_of()
        flat = {name: given[name] for name in group_of if name in given}
        tables = {name: value for name, value in given.items() if name not in flat}
        for name, value in flat.items():
            group = group_of[name]
            if isinstance(tables.setdefault(group, {}), Mapping):
                tables[group] = {name: value} | tables[group]
        return tables

    @classmethod
    def place(cls, at: Place, given: Any) -> Place:
        """Say where an option stands that is written without its group."""
        if len(at) == 2 and cls._group_of().get(str(at[1])) == at[0] and at[1] not in plain(given, str(at[0])):
            return at[1:]
        return super().place(at, given)

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """Name the options that the table may have, with those of groups that may be written without it."""
        return (*cls.model_fields, *cls._group_of())

    @classmethod
    def _group_of(cls) -> Mapping[str, str]:
        return {name: group for group, table in cls.flat_groups.items() for name in table.model_fields}
