"""The mixtures a solved one has to beat."""

from __future__ import annotations

from collections.abc import Mapping


def baseline_shares(
    kind: str, volumes: Mapping[str, float], caps: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Shares of a baseline, by domain.

    Args:
        kind: `proportional` to the training volumes of each domain, which is what drawing volumes at random does;
            `uniform`; or `unimax`, uniform but for domains whose cap binds (Chung 2023, 2304.09151).
        volumes: training volumes of each domain.
        caps: largest share of each domain (for unimax).

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "proportional":
        total = sum(volumes.values())
        return {name: count / total for name, count in volumes.items()}
    if kind == "uniform":
        return {name: 1 / len(volumes) for name in volumes}
    if kind != "unimax":
        raise ValueError(f"there is no baseline '{kind}'")
    left, shares = 1.0, {}
    room = {name: (caps or {}).get(name, 1.0) for name in volumes}
    for position, name in enumerate(sorted(room, key=lambda item: room[item])):
        shares[name] = min(room[name], left / (len(room) - position))
        left -= shares[name]
    return {name: shares[name] for name in volumes}
