"""LWE encryption and encrypted search on this machine, beside Paillier, BFV and the memory's own limit.

    python -m benchmarks.lwe [--records 1000000] [--json]

Features in, words out: images a second by block size and threads, and on CUDA where there is a device; a
single image with its block's head made ahead and with everything; search over an index on disk; the same
features under the peers of ``peers.py``, in the same run. One image is 256 features.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

# libgomp's default is to spin at every barrier, which costs a scheduling quantum when cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from benchmarks import peers, searching
from benchmarks.report import Goal, at_least, at_most, emit, seconds
from stages.encrypt.keys.folder import load_owner, new_keys
from stages.encrypt.keys.owner import generate
from stages.encrypt.lwe.parameters import LWE32, TABLE
from stages.encrypt.lwe.quantise import quantise_rows, scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.search import quantise_query
from stages.encrypt.public.sealing import Sealer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.encrypt.lwe.scheme import EncryptedBlock
    from stages.encrypt.lwe.wire import LwePublicKey

D = 256
THREADS = (1, 2)
BLOCK_SIZES = (1, 32, 256, 1024)
SIZES = (10_000, 100_000)  # records searched, and all there are
SINGLES = 15  # images with a head made ahead
_KEY = bytes(range(32))  # of the comparison of CPU and CUDA only


def main() -> None:
    """Measure everything once and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="of the largest index searched")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    results = measure(arguments.records)
    packages = ("torch", "numpy", "cryptography", "pyarrow", *peers.PACKAGES)
    emit("lwe", results, goals(results), packages, as_json=arguments.json)


def measure(records: int) -> dict[str, Any]:
    """Every figure by its name."""
    x_ND = np.random.default_rng(0).normal(size=(max(BLOCK_SIZES), D)).astype(np.float32)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        public, owner = new_keys(keys, None), load_owner(keys, None)
        encryptor = Encryptor(public.lwe)
        cuda = on_cuda(public.lwe, x_ND)  # before the large index: a device is not kept waiting for it
        found: dict[str, Any] = {
            "torch cpu capability": torch.backends.cpu.get_cpu_capability(),
            "gemm method": encryptor.method.value,
            "encryption": encryption(encryptor, x_ND),
            "single image": single(encryptor, x_ND[:1]),
        }
        blocks = [one_block(encryptor, x_ND) for _ in range(4)]
        took = searching.write_index(Path(folder) / "index", blocks, records)
        sizes = [size for size in (*SIZES, records) if size <= records]
        found["search"] = searching.measure(Path(folder) / "index", sizes, quantise_query(x_ND[0]), owner.lwe)
        found["search"]["write, us/record"] = 1e6 * took / records
    found["encryption, other sets"] = other_sets(x_ND)
    sealer = Sealer(public.hpke)
    found["seal 300 bytes, us"] = 1e6 * seconds(lambda: sealer.seal(bytes(300), bytes(32)))
    found["peers"] = peers.measure(D)
    found["cuda"] = cuda
    return found


def one_block(encryptor: Encryptor, x_ND: NDArray[np.float32]) -> EncryptedBlock:
    """Quantisation and encryption together."""
    scale = scale_for(encryptor.public.parameters, D)
    return encryptor.encrypt(quantise_rows(x_ND, scale)[0], slot=0, scale=scale)


def encryption(encryptor: Encryptor, x_ND: NDArray[np.float32]) -> dict[str, float]:
    """Images a second by threads and block size."""
    found = {}
    for threads in THREADS:
        torch.set_num_threads(threads)
        for size in BLOCK_SIZES:
            took = seconds(lambda rows=size: one_block(encryptor, x_ND[:rows]))
            found[f"blocks of {size}, {threads} threads, images/s"] = size / took
    torch.set_num_threads(1)
    return found


def other_sets(x_ND: NDArray[np.float32]) -> dict[str, float]:
    """Full blocks under the parameter sets that are not the default, two threads."""
    torch.set_num_threads(max(THREADS))
    found = {}
    for parameters in TABLE.values():
        if parameters != LWE32:
            encryptor = Encryptor(generate(parameters, os.urandom(32), os.urandom(32)))
            name = f"{parameters.name} ({encryptor.method.value}), blocks of {len(x_ND)}, images/s"
            found[name] = len(x_ND) / seconds(lambda one=encryptor: one_block(one, x_ND), least=0, repeats=3)
    torch.set_num_threads(1)
    return found


def single(encryptor: Encryptor, x_1D: NDArray[np.float32]) -> dict[str, float]:
    """One image, one thread: online with a blank made ahead, the blank, and all at once."""
    scale = scale_for(encryptor.public.parameters, D)
    online, ahead = [], []
    for _ in range(SINGLES):
        start = time.perf_counter()
        blank = encryptor.blank(D)
        made = time.perf_counter()
        encryptor.encrypt(quantise_rows(x_1D, scale)[0], slot=0, scale=scale, blank=blank)
        online.append(time.perf_counter() - made)
        ahead.append(made - start)
    whole = seconds(lambda: one_block(encryptor, x_1D))
    figures = {"online, ms": median(online), "ahead, ms": median(ahead), "all at once, ms": whole}
    return {name: 1e3 * value for name, value in figures.items()}


def on_cuda(public: LwePublicKey, x_ND: NDArray[np.float32]) -> dict[str, Any]:
    """The table on a CUDA device, where there is one."""
    if not torch.cuda.is_available():
        return {"absent": "no CUDA device"}
    return on_device(public, x_ND, "cuda")


def on_device(public: LwePublicKey, x_ND: NDArray[np.float32], device: str) -> dict[str, Any]:
    """Images a second with and without quantisation, which the CPU does, and whether the bytes are the CPU's.

    The same randomness must give the same bytes.
    """
    on_both = [one_block(Encryptor(public, where, lambda _: _KEY), x_ND) for where in ("cpu", device)]
    cpu, there = ((block.head_Dn.tobytes(), block.columns_ND.tobytes()) for block in on_both)
    encryptor = Encryptor(public, device)
    found: dict[str, Any] = {"gemm method": encryptor.method.value, "bytes equal the CPU's": cpu == there}
    scale = scale_for(public.parameters, D)
    plain_ND = quantise_rows(x_ND, scale)[0]
    for size in BLOCK_SIZES:
        took = seconds(lambda rows=size: one_block(encryptor, x_ND[:rows]))
        found[f"blocks of {size}, images/s"] = size / took
        took = seconds(lambda rows=size: encryptor.encrypt(plain_ND[:rows], slot=0, scale=scale))
        found[f"blocks of {size}, quantised ahead, images/s"] = size / took
    return found


def goals(results: dict[str, Any]) -> list[Goal]:
    """What we set out for, on two cores, and whether it is so here."""
    full = f"blocks of {BLOCK_SIZES[-1]}"
    block = max(results["encryption"][f"{full}, {threads} threads, images/s"] for threads in THREADS)
    most = results["search"]["sizes"][-1]
    found = [
        at_most("single image, blank made ahead", results["single image"]["online, ms"], "ms", 1),
        at_least(f"encryption in {full}", block, "images/s", 10_000),
        at_most("answer", results["search"]["bytes/score"], "bytes/score", 12),
    ]
    count = "10^6" if most["records"] >= 10**6 else f"10^6 records, from {most['records']:,}"
    for kind in ("first", "1 threads", "2 threads"):
        took = most[f"1 queries, {kind}, us/record"]
        found.append(at_most(f"search of {count}, {kind}", took, "s", 1))  # us a record is s for 10^6
    names = {
        "phe-2048": 50_000,
        f"TenSEAL BFV-{peers.BFV_DEGREE}, 1 a ciphertext": 20,
        f"TenSEAL BFV-{peers.BFV_DEGREE}, 8 a ciphertext": 5,
    }
    for name, goal in names.items():
        if name in results["peers"]:
            found.append(
                at_least(f"over {name}", results["peers"][name]["ms/image"] * block / 1e3, "times", goal)
            )
    if "bytes equal the CPU's" in results["cuda"]:
        cuda = results["cuda"]
        ahead = cuda[f"{full}, quantised ahead, images/s"]
        found.append(at_least("encryption on CUDA", ahead, "images/s", 1_000_000))
        found.append(at_least("CUDA bytes equal the CPU's", float(cuda["bytes equal the CPU's"]), "yes", 1))
    return found


if __name__ == "__main__":
    main()
