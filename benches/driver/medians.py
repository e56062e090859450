"""What the rounds of the table say together. Ratios and differences are taken within a round."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

from .servers import Server


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median over the rounds, and their range."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)


class Table:
    """The rows of the table, a dict of servers for each round."""

    def __init__(self, rows: list[dict[str, Any]], quiet: float):
        self.quiet = quiet
        rounds: dict[int, dict[str, Any]] = {}
        for row in rows:
            rounds.setdefault(row["round"], {})[row["server"]] = row
        self.rounds = list(rounds.values())

    def has(self, name: str) -> bool:
        return any(name in row for row in self.rounds)

    def of(self, name: str) -> list[dict[str, Any]]:
        """A server's rows."""
        return [row[name] for row in self.rounds if name in row]

    def spread(self, value: Callable[..., float], route: str, *names: str) -> Spread:
        """What `value` makes of these servers' measurements of a route, in each of the rounds that count.

        Those are the rounds in which nothing else took the cores, but at least the quieter half.
        """
        complete = [[row[name][route] for name in names] for row in self.rounds if all(name in row for name in names)]
        complete.sort(key=lambda measured: max(each["noise"] for each in measured))
        calm = sum(max(each["noise"] for each in measured) <= self.quiet for measured in complete)
        used = complete[: max(calm, (len(complete) + 1) // 2)]
        return Spread(tuple(value(*measured) for measured in used))

    def value(self, name: str, route: str, key: str) -> Spread:
        return self.spread(lambda own: own[key], route, name)

    def ratio(self, name: str, other: str, route: str, key: str) -> Spread:
        return self.spread(lambda own, others: own[key] / max(others[key], 1e-9), route, name, other)

    def session_cost(self, server: Server, route: str) -> Spread:
        """CPU µs a request, less those of the same framework without sessions."""
        return self.spread(lambda own, bare: own["cpu_us"] - bare["cpu_us"], route, server.name, server.bare)

    def compared(self, peer: Server, ours: Server, route: str) -> Spread:
        """How many times our session's cost the peer's is."""

        def ratio(a: dict[str, Any], a_bare: dict[str, Any], b: dict[str, Any], b_bare: dict[str, Any]) -> float:
            cost = b["cpu_us"] - b_bare["cpu_us"]
            return (a["cpu_us"] - a_bare["cpu_us"]) / cost if cost > 0 else float("nan")

        return self.spread(ratio, route, peer.name, peer.bare, ours.name, ours.bare)


def median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")
