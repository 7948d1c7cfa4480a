"""AutoCTR's division of rows: ten folds with equal label rates, eight of which train.

The folds are those of scikit-learn's ``StratifiedKFold(10, shuffle=True, random_state=2018)``,
computed with a byte a row. With n rows, of which a have the label that the first row has, fold i
gets every tenth of the labels sorted in this order, from the i-th on: ``ceil((n - i) / 10)`` rows,
``ceil((a - i) / 10)`` of them with that label. Which rows these are is drawn for that label first,
then for the other: as many 0s, 1s, ..., 9s as the folds have of the label, shuffled and dealt out
in row order.

Folds 0 to 7 are for training, 8 for validation, 9 for the test, as in AutoCTR [Song2020]_ and
NASRec.

The scripts released with NASRec count the lines of Criteo and of KDD Cup 2012 from 1 when they read
the labels and from 0 when they write the rows, taking the first line for a header. So the first row
is in no part, each other row gets the fold of the row before it, and the last fold of all is
not used. Label rates then differ by chance, as in a split that is not stratified.

.. [Song2020] Song et al.: Towards automated neural interaction discovery for click-through rate
   prediction. KDD 2020.
"""

from __future__ import annotations

import numpy as np

from dnas.data.store import PART_CODES

FOLDS, SEED = 10, 2018
#: Part of a row that is in none.
NO_PART = 255

_PART_OF_FOLD = np.array(
    [PART_CODES["train"]] * 8 + [PART_CODES["validation"], PART_CODES["test"]], dtype=np.uint8
)
_CHUNK_ROWS = 1 << 22


def stratified_folds(labels: np.ndarray, folds: int = FOLDS, seed: int = SEED) -> np.ndarray:
    """The fold in which scikit-learn tests each row.

    Args:
        labels: ``(rows,)`` of 0 and 1.
        folds: Number of folds, below 256.
        seed: scikit-learn's ``random_state``.

    Returns:
        ``(rows,)`` uint8.
    """
    rows = labels.shape[0]
    result = np.empty(rows, dtype=np.uint8)
    if not rows:
        return result
    first = labels[0]
    chunks = [slice(start, start + _CHUNK_ROWS) for start in range(0, rows, _CHUNK_ROWS)]
    like_first = sum(int(np.count_nonzero(labels[chunk] == first)) for chunk in chunks)
    # ceil((count - fold) / folds): every tenth of `count` rows, from `fold` on.
    sizes = [-((np.arange(folds) - count) // folds) for count in (rows, like_first)]
    rng = np.random.RandomState(seed)
    for is_first, share in ((True, sizes[1]), (False, sizes[0] - sizes[1])):
        deal = np.repeat(np.arange(folds, dtype=np.uint8), share)
        rng.shuffle(deal)
        dealt = 0
        for chunk in chunks:
            here = (labels[chunk] == first) == is_first
            count = int(np.count_nonzero(here))
            result[chunk][here] = deal[dealt : dealt + count]
            dealt += count
    return result


def autoctr_parts(labels: np.ndarray, *, off_by_one: bool) -> np.ndarray:
    """The part each row belongs to.

    Args:
        labels: ``(rows,)`` of 0 and 1.
        off_by_one: As the released scripts do for Criteo and KDD Cup 2012, see the module.

    Returns:
        ``(rows,)`` uint8 codes of ``PART_CODES``, or :data:`NO_PART`.
    """
    parts = _PART_OF_FOLD[stratified_folds(labels)]
    if off_by_one:
        parts[1:] = parts[:-1].copy()
        parts[:1] = NO_PART
    return parts
