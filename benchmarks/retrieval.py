"""Retrieval on real features: what encrypted search finds beside plain float search on the same slices.

    python -m benchmarks.retrieval [--data ../shared/data] [--json]

PROMISE12 cases and prostate3t DICOM series go through the stream's own stages with the shipped weights.
Every slice is in the database; those that training never saw (validation cases and the DICOM series) are
the queries. Both sides rank the same float features; the encrypted side quantises, encrypts under a real
key, scores the ciphertexts as the server does and opens the answers as the owner does.

For D other than the shipped one the projection is fitted again on the training slices, by the function
that training uses. "n bits" means integers of at most 2^(n-1) - 1: of a query by its own largest
component, of records by the largest in the database, as the records of a block share one scale.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks import slices
from benchmarks.report import Goal, at_least, at_most, emit, seconds, table
from evaluation.cases import read_case
from evaluation.pairs import find_pairs
from stages.encrypt.keys.owner import SecretKey, expand_secret, generate, open_scores
from stages.encrypt.lwe.parameters import LWE32, TABLE, Parameters
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import EncryptedBlock, Encryptor
from stages.encrypt.lwe.search import quantise_query, score_block, score_bound
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint
from stages.segment.features import Descriptor
from stages.segment.stage import Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.slices import Slices
    from stages.segment.features import Segmenter

DIMENSIONS = (128, 256, 512)
BITS = (8, 6, 4)
TOP = 10
PASS = 32  # slices per pass of the model
DEFAULT = "default"  # records and weights at the scale of scale_for
_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Party:
    """One key pair: the site's encryptor and the owner's secret."""

    encryptor: Encryptor
    secret: SecretKey

    @property
    def parameters(self) -> Parameters:
        """Of both."""
        return self.secret.parameters


@dataclass(frozen=True)
class Task:
    """Float features of one D: N records, of which the last Q are queries; ``alone`` without neighbours."""

    record_ND: NDArray[np.float32]
    alone_QD: NDArray[np.float32]
    slices: Slices

    @property
    def query_QD(self) -> NDArray[np.float32]:  # noqa: N802 - named as arrays are
        """The records that are queries."""
        return self.record_ND[-len(self.alone_QD) :]


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=_DATA, help="folder of promise12 and prostate3t")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    for needed in ("promise12/train", "promise12/val", "prostate3t"):
        if not (arguments.data / needed).is_dir():
            reason = f"there is no {needed} in {arguments.data}; name the folder with --data"
            print(f"retrieval is skipped: {reason}", file=sys.stderr)
            return
    results = measure(arguments.data)
    text = f"{table(results['rows'])}\n\n{table(results['defaults'])}\n"
    packages = ("torch", "numpy", "openvino")
    emit("retrieval", results, goals(results), packages, as_json=arguments.json, text=text)


def measure(data: Path) -> dict[str, Any]:
    """Every row of the table, and what it was measured on."""
    segmenter, info = checkpoint.load()
    train, unseen = slices.read(data, info.recipe)
    everything = slices.Slices.join([train, unseen])
    raw_NR = raw_features(segmenter, everything.x_NCHW)
    alone_QR = raw_features(segmenter, np.repeat(unseen.x_NCHW[:, 1:2], 3, axis=1))
    parties = [party(parameters) for parameters in TABLE.values()]
    rows, defaults = [], []
    for D in DIMENSIONS:
        describe = projection(segmenter, raw_NR[: len(train)], D)
        with torch.inference_mode():
            task = Task(describe(raw_NR).numpy(), describe(alone_QR).numpy(), everything)
        for one in parties:
            rows += compared(one, task)
            defaults.append(default_of(one, task))
    return {
        "weights": info.digest,
        "records": len(everything),
        "queries": len(unseen),
        "patients": len(np.unique(everything.patient_N)),
        "largest difference from the segment stage": stage_difference(segmenter, data),
        "rows": rows,
        "defaults": defaults,
    }


def party(parameters: Parameters) -> Party:
    """A fresh key pair."""
    seed = os.urandom(32)
    public = generate(parameters, seed, os.urandom(32))
    return Party(Encryptor(public), expand_secret(parameters, seed, public.key_id))


def raw_features(segmenter: Segmenter, x_NCHW: NDArray[np.float32]) -> torch.Tensor:
    """Features before the projection, [N, R]."""
    with torch.inference_mode():
        return torch.cat([segmenter.raw(x)[1] for x in torch.split(torch.from_numpy(x_NCHW), PASS)])


def projection(segmenter: Segmenter, train_NR: torch.Tensor, D: int) -> Descriptor:
    """The shipped projection, or one to another D fitted on the training slices."""
    config = segmenter.net.config
    if config.feature_dim == D:
        return segmenter.descriptor
    fitted = Descriptor(replace(config, feature_dim=D))
    fitted.fit(train_NR)
    return fitted


def stage_difference(segmenter: Segmenter, data: Path) -> float:
    """How far features as computed here are from those that the segment stage's runtime gives."""
    case = read_case(find_pairs(data / "promise12" / "val")[0])
    with Preprocess().open() as prepare, Segment().open() as run:
        prepared = prepare(case.frames).kept
        theirs_ND = run(prepared).kept.feature_ND
    with torch.inference_mode():
        ours_ND = segmenter(torch.from_numpy(prepared.x_NCHW))[1].numpy()
    return float(np.abs(theirs_ND - ours_ND).max())


def compared(one: Party, task: Task) -> list[dict[str, Any]]:
    """The rows of one D: both sides as they are by default, queries of n bits, both of n bits."""
    scale = scale_for(one.parameters, task.record_ND.shape[1])
    cases: list[tuple[int | str, int | str]] = [(DEFAULT, DEFAULT)]
    if one.parameters == LWE32:
        cases += [(DEFAULT, bits) for bits in BITS] + [(bits, bits) for bits in BITS]
    plain_QN = task.query_QD.astype(np.float64) @ task.record_ND.astype(np.float64).T
    rows = []
    for records, weights in cases:
        if isinstance(records, int):
            scale = int((2 ** (records - 1) - 1) / np.abs(task.record_ND).max())
        blocks = encrypted(one, task.record_ND, scale)
        weights_QD = [weights_of(blocks[0], feature_D, weights) for feature_D in task.query_QD]
        score_QN = np.stack([scores(one, blocks, weights_D) for weights_D in weights_QD])
        rows.append(
            {
                "set": one.parameters.name,
                "D": task.record_ND.shape[1],
                "record bits": records,
                "query bits": weights,
                "record scale": scale,
                "queries cut": 0.0 if isinstance(weights, str) else cut(weights_QD, weights),
                "query norm": float(np.linalg.norm(weights_QD, axis=1).mean()),
                **quality(plain_QN, score_QN, task),
            }
        )
    return rows


def encrypted(one: Party, record_ND: NDArray[np.float32], scale: int) -> list[EncryptedBlock]:
    """The records at this scale, in blocks; none may fail to fit."""
    X_ND, fits_N = quantise_rows(record_ND, scale)
    assert fits_N.all()
    slots = one.parameters.slots
    return [
        one.encryptor.encrypt(X_ND[lo : lo + slots], slot=0, scale=scale) for lo in range(0, len(X_ND), slots)
    ]


def weights_of(block: EncryptedBlock, feature_D: NDArray[np.float32], bits: int | str) -> NDArray[np.int32]:
    """A query's weights of ``bits`` bits, smaller where the plaintext range allows no more."""
    if isinstance(bits, str):
        return quantise_query(feature_D, block.header.parameters)
    scale = (2 ** (bits - 1) - 1) / float(np.abs(feature_D).max())
    while True:
        weights_D = np.rint(feature_D.astype(np.float64) * scale).astype(np.int32)
        share = score_bound(block.header, weights_D) / block.header.parameters.plaintext_bound
        if share < 1:
            return weights_D
        scale *= 0.999 / share


def cut(weights_QD: list[NDArray[np.int32]], bits: int) -> float:
    """Share of queries whose largest weight is not what ``bits`` allow, because the range does not."""
    return float((np.abs(weights_QD).max(1) < 2 ** (bits - 1) - 1).mean())


def scores(one: Party, blocks: list[EncryptedBlock], weights_D: NDArray[np.int32]) -> NDArray[np.float64]:
    """Cosines of one query with every record: the server's part, then the owner's."""
    answers = [score_block(b.header, b.head_Dn, b.columns_ND, weights_D) for b in blocks]
    opened = zip(blocks, answers, strict=True)
    return np.concatenate([open_scores(one.secret, b.header, answer, weights_D) for b, answer in opened])


def quality(plain_QN: NDArray[np.float64], score_QN: NDArray[np.float64], task: Task) -> dict[str, float]:
    """What the encrypted ranking keeps of the plain one, and what both are worth."""
    error_QN = score_QN - plain_QN
    Q, N = plain_QN.shape
    patient_N, truth_NP = task.slices.patient_N, task.slices.truth_NP
    own_QN = np.arange(N) == np.arange(N - Q, N)[:, None]
    same_QN = patient_N == patient_N[N - Q :, None]
    shows_N = truth_NP.any(1)
    found: dict[str, float] = {
        "cosine error std": float(error_QN.std()),
        "cosine error max": float(np.abs(error_QN).max()),
    }
    for name, barred_QN in (("others", own_QN), ("other patients", same_QN)):
        plain_QK, kept_QK = best(plain_QN, barred_QN), best(score_QN, barred_QN)
        shared = [len(set(a) & set(b)) for a, b in zip(plain_QK.tolist(), kept_QK.tolist(), strict=True)]
        found[f"top-1 {name}"] = float((plain_QK[:, 0] == kept_QK[:, 0]).mean())
        found[f"top-{TOP} {name}"] = float(np.mean(shared) / TOP)
    for name, of_QN in (("plain", plain_QN), ("encrypted", score_QN)):
        nearest_Q = best(of_QN, own_QN)[:, 0]
        found[f"same patient, {name}"] = float(same_QN[np.arange(Q), nearest_Q].mean())
        labelled_Q = shows_N[N - Q :]
        nearest_Q = best(of_QN, same_QN | ~shows_N)[labelled_Q, 0]
        found[f"mask IoU, {name}"] = overlap(truth_NP[N - Q :][labelled_Q], truth_NP[nearest_Q])
    return found


def best(score_QN: NDArray[np.float64], barred_QN: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The TOP records of every query, best first, the earlier record first where scores are equal."""
    return np.argsort(-np.where(barred_QN, -2.0, score_QN), axis=1, kind="stable")[:, :TOP]


def itself(score_QN: NDArray[np.float64]) -> float:
    """Share of queries whose own record, of the last Q, is first."""
    Q, N = score_QN.shape
    return float((score_QN.argmax(1) == np.arange(N - Q, N)).mean())


def overlap(a_QP: NDArray[np.bool_], b_QP: NDArray[np.bool_]) -> float:
    """Mean intersection over union of gland masks, pair by pair."""
    return float(((a_QP & b_QP).sum(1) / (a_QP | b_QP).sum(1)).mean())


def default_of(one: Party, task: Task) -> dict[str, Any]:
    """The default scale at this D: time and bytes per record, and whether an image alone finds its slice."""
    D, m = task.record_ND.shape[1], one.parameters.slots
    scale = scale_for(one.parameters, D)
    record_ND = np.resize(task.record_ND, (m, D))
    block = encrypted(one, record_ND, scale)[0]
    weights_D = quantise_query(task.query_QD[0], one.parameters)
    answer = score_block(block.header, block.head_Dn, block.columns_ND, weights_D)
    own = encrypted(one, task.record_ND, scale)
    alone_QN = np.stack([scores(one, own, quantise_query(f_D, one.parameters)) for f_D in task.alone_QD])

    def serve() -> object:
        return score_block(block.header, block.head_Dn, block.columns_ND, weights_D)

    def opened() -> object:
        return open_scores(one.secret, block.header, answer, weights_D)

    return {
        "set": one.parameters.name,
        "D": D,
        "scale": scale,
        "bytes/record": (block.head_Dn.nbytes + block.columns_ND.nbytes) / m,
        "bytes/score": (answer.head_n.nbytes + answer.scores_N.nbytes) / m,
        "encrypt us/record": 1e6 * seconds(lambda: encrypted(one, record_ND, scale)) / m,
        "score us/record": 1e6 * seconds(serve) / m,
        "open us/record": 1e6 * seconds(opened) / m,
        "image alone finds itself, plain": itself(task.alone_QD @ task.record_ND.T),
        "image alone finds itself, encrypted": itself(alone_QN),
    }


def goals(results: dict[str, Any]) -> list[Goal]:
    """What the default must keep of plain search."""
    wanted = {"set": LWE32.name, "D": 256, "record bits": DEFAULT, "query bits": DEFAULT}
    row = next(row for row in results["rows"] if wanted.items() <= row.items())
    default = next(row for row in results["defaults"] if {"set": LWE32.name, "D": 256}.items() <= row.items())
    found = default["image alone finds itself, encrypted"]
    return [
        at_most("cosine error at the default", row["cosine error std"], "standard deviation", 1.5e-3),
        at_least("top-10 overlap at the default", row[f"top-{TOP} others"], "share", 0.98),
        at_least("images that find themselves at the default", found, "share", 0.99),
    ]


if __name__ == "__main__":
    main()
