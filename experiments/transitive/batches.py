"""Batches of pairs: transitive and intra ones in fixed shares, by seed and step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.config import TripletConfig
from experiments.transitive.pairs import INTER, INTRA, KINDS, TRANSITIVE
from experiments.transitive.shards import Crops
from lars_jax.data import Source, batch_samples, read_batch
from lars_jax.errors import InputError

ACROSS = {
    "transitive": (TRANSITIVE,),
    "inter": (INTER,),
    "both": (TRANSITIVE, INTER),
}
"""Kinds of pairs of two tracks, by what a configuration calls them."""


@dataclass(frozen=True, eq=False)
class PairData:
    """What a triplet network is trained on.

    Attributes:
        source: images of one size, a place for each.
        image: int [nodes], the place of each node's image, one place for each image.
        nodes: int64 [P, 2], the nodes of each pair.
        kind: uint8 [P], of which kind each pair is.
        parent: int32 [nodes], the parent cluster of each node, -1 for none.
    """

    source: Source
    image: np.ndarray
    nodes: np.ndarray
    kind: np.ndarray
    parent: np.ndarray

    def of_kind(self, *kinds: int) -> np.ndarray:
        """Return the places of the pairs of some kinds."""
        return np.flatnonzero(np.isin(self.kind, kinds))


def pair_data(track: Path, graph: Path) -> PairData:
    """Return the pairs of a graph and the crops of its tracks.

    Node t is the seed of track t, node S + t its end, of S tracks.

    Args:
        track: directory of the stage of that name.
        graph: likewise.
    """
    crops = Crops(track)
    nodes, kind, parent = (
        np.load(graph / f"{name}.npy") for name in ("pairs", "kinds", "node_parents")
    )
    return PairData(crops, node_images(crops.index), nodes, kind, parent)


def node_images(index: np.ndarray) -> np.ndarray:
    """Return the place of each node's image, int64 [nodes].

    Of photographs the end of a track may be the seed of another one; both nodes then
    have one place, the first, by which they are known to show the same.

    Args:
        index: rows of `shards.INDEX`, a seed and its end by turns.

    A track from photograph 7 to 9, and one from 9 to 8:

    >>> from experiments.transitive.shards import INDEX
    >>> index = np.zeros(4, INDEX)
    >>> index["frame"] = [7, 9, 9, 8]
    >>> print(node_images(index))
    [0 1 1 3]
    """
    boxes = np.stack([index[name] for name in ("video", "frame", "x", "y")], axis=1)
    _, first, number = np.unique(boxes, axis=0, return_index=True, return_inverse=True)
    place = first[number.ravel()]
    return np.concatenate([place[::2], place[1::2]])


@dataclass(frozen=True, eq=False)
class Sampler:
    """The pairs of each batch, a function of the seed and the step alone.

    Pairs are dealt out as from a deck: of each kind all come once before one comes
    again. The intra pairs of a batch follow its transitive ones, and as every pair is
    compared with the whole batch their order means nothing.

    Attributes:
        data: the pairs.
        pools: places of the pairs of each kind that is taken.
        counts: how many of each are in a batch.
    """

    data: PairData
    pools: tuple[np.ndarray, ...]
    counts: tuple[int, ...]

    @classmethod
    def create(cls, data: PairData, config: TripletConfig) -> "Sampler":
        """Return the sampler of a configuration.

        Raises:
            InputError: a batch of an odd number of images, or none of a kind.
        """
        if config.global_batch % 2:
            raise InputError(
                "global_batch counts images, two of each pair; got "
                f"{config.global_batch}: choose an even number"
            )
        pairs = config.global_batch // 2
        transitive = round(pairs * config.transitive_share)
        wanted = (
            (ACROSS[config.across], transitive),
            ((INTRA,), pairs - transitive),
        )
        pools, counts = [], []
        for kinds, count in wanted:
            pool = data.of_kind(*kinds)
            if count and not len(pool):
                what = " or ".join(KINDS[kind] for kind in kinds)
                raise InputError(
                    f"a batch needs {count} {what} pairs; there are none: set "
                    "--transitive-share so that it needs none, or mine more video"
                )
            if count:
                pools.append(pool)
                counts.append(count)
        return cls(data, tuple(pools), tuple(counts))

    def pairs(self, seed: int, step: int) -> np.ndarray:
        """Return the places of the pairs of a batch, int64 [P]."""
        return np.concatenate(
            [
                pool[batch_samples(_deck(seed, k), step, len(pool), count)[0]]
                for k, (pool, count) in enumerate(
                    zip(self.pools, self.counts, strict=True)
                )
            ]
        )

    def batch(self, seed: int, step: int) -> dict[str, np.ndarray]:
        """Return the nodes of a batch, the places of their images, and parents.

        A pair has one parent, which both of its nodes are in.
        """
        nodes = self.data.nodes[self.pairs(seed, step)]
        return {
            "node": nodes.astype(np.int32),
            "place": self.data.image[nodes].astype(np.int32),
            "parent": self.data.parent[nodes[:, 0]],
        }

    def with_images(
        self, seed: int, start: int, stop: int, rows: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Yield batches with their images, the next read while one is in use.

        Args:
            seed: of the run.
            start: first step.
            stop: the step after the last.
            rows: places of the pairs in each batch that are wanted here.
        """

        def load(step: int) -> dict[str, np.ndarray]:
            batch = {
                name: rows_of[rows] for name, rows_of in self.batch(seed, step).items()
            }
            places = batch["place"].ravel().tolist()
            image = read_batch(self.data.source, places).image
            pairs = batch["node"].shape
            return batch | {"image": image.reshape(*pairs, *image.shape[1:])}

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(load, start) if start < stop else None
            for step in range(start, stop):
                assert coming is not None, "it is asked for a step ahead"
                batch = coming.result()
                coming = pool.submit(load, step + 1) if step + 1 < stop else None
                yield batch


def _deck(seed: int, number: int) -> int:
    """Return a seed for the order of each kind, so that no two runs share one."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
