"""What one request costs the isolated experts, and how soon nothing is served with the subject."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bench import Row
from experts_accuracy import cap_for, keyed
from timing import percentile, spread, tell

from forgetnet import ForgetNet, NeighbourExpert, RidgeTrunk, TorchExpert
from forgetnet.shards import leaves

RECORDS, SUBJECTS = 19_956, 1_207
_KEY = bytes(range(32))


def owners(records: int = RECORDS, subjects: int = SUBJECTS, seed: int = 0) -> list[str]:
    """Make up whose records are: sizes are log-normal, with a median of about 9."""
    draw = np.random.default_rng(seed)
    sizes = draw.lognormal(2.2, 1.05, subjects)
    drawn = draw.choice(subjects, records, p=sizes / sizes.sum())
    return [f"person {number}" for number in drawn]


def made_up(
    records: int, dim: int, classes: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Make up clusters of vectors, and their labels."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(classes, dim))
    kinds = draw.integers(0, classes, records)
    vectors = centres[kinds] + draw.normal(size=(records, dim))
    return vectors.astype(np.float32), [f"class {kind}" for kind in kinds]


def _model(
    vectors: npt.NDArray[np.float32],
    labels: list[str],
    names: Sequence[str],
    cap: int,
    expert: TorchExpert,
) -> ForgetNet:
    net = ForgetNet.open(
        encoder=f"vectors:{vectors.shape[1]}", experts=[expert], cap=cap, key=_KEY, progress=False
    )
    ids = [f"record {i}" for i in range(len(vectors))]
    return net.fit(vectors, labels, subjects=names, ids=ids)


def _shares(net: ForgetNet, scopes: Sequence[Sequence[str]]) -> list[float]:
    """Return what requests for some ids would cost, in percent of a full training."""
    found = []
    for ids in scopes:
        steps = {step.component: step for step in net.plan(ids=list(ids)).steps}
        found.append(100.0 * steps["torch"].share)
    return found


def counted(asked: int = 60) -> Iterator[Row]:
    """Count the work of requests: records times stages that are trained anew."""
    names = owners()
    vectors, labels = made_up(RECORDS, 8, 4)
    quick = TorchExpert(epochs=1, min_steps=0, hidden=4, batch=4096)
    ids: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        ids.setdefault(name, []).append(f"record {number}")
    some = sorted(ids)[:: max(1, len(ids) // asked)]
    alone = [f"record {i}" for i in range(RECORDS)]
    for wanted, most in ((32, 4.0), (64, 1.5), (128, 0.0)):
        tell(f"counting at {wanted} leaves")
        by_subject = _model(vectors, labels, names, _cap(names, wanted), quick)
        random = _model(vectors, labels, alone, _cap(alone, wanted), quick)
        ours = _shares(by_subject, [ids[name] for name in some])
        theirs = _shares(random, [ids[name] for name in some])
        count = len(leaves(Counter(keyed(names)), _cap(names, wanted)))
        mean, beside = statistics.fmean(ours), statistics.fmean(theirs)
        what = f"one of {len(ids):,} people leaves, {count} leaves by subject; beside, at random"
        yield Row(
            what, f"{mean:.1f}% of a full training", f"{beside:.1f}%", f"{mean / beside:.2f}",
            *((f"at most {most}%", mean <= most) if most else ()),
        )  # fmt: skip
        if wanted == 128:
            draw = np.random.default_rng(1)
            batches = [draw.choice(sorted(ids), 64, replace=False) for _ in range(5)]
            all_ids = [[i for name in batch for i in ids[name]] for batch in batches]
            whole = statistics.fmean(_shares(by_subject, all_ids))
            yield Row(
                f"64 people leave at once, {count} leaves", f"{whole:.1f}%", "", "",
                "below 40%", whole < 40.0,
            )  # fmt: skip


def _cap(names: Sequence[str], wanted: int) -> int:
    return cap_for(Counter(keyed(names)), wanted)


def trained(requests: int = 8) -> Iterator[Row]:
    """Train for real: processor time of a request against that of a full training."""
    names = owners()
    vectors, labels = made_up(RECORDS, 64, 10)
    start = time.process_time()
    net = _model(vectors, labels, names, _cap(names, 32), TorchExpert())
    whole = time.process_time() - start
    people = sorted(set(names))[:: len(set(names)) // requests][:requests]
    shares, plans = [], []
    for name in people:
        plans.append(100.0 * net.plan(subject=name).steps[-1].share)
        start = time.process_time()
        net.forget(subject=name, verify="touched")
        shares.append(100.0 * (time.process_time() - start) / whole)
    yield Row(
        f"the same for real, {RECORDS:,} records, 32 leaves: processor time of all of a forget",
        f"{statistics.fmean(shares):.1f}% of a full training",
        f"planned {statistics.fmean(plans):.1f}%",
        "",
        "at most 4%",
        statistics.fmean(shares) <= 4.0,
    )


def served(rows: Sequence[int], requests: int = 100) -> Iterator[Row]:
    """Time a request until it is durable and nothing answers with the subject."""
    for count in rows:
        vectors, labels = made_up(count, 384, 20)
        names = [f"person {i // 10}" for i in range(count)]
        with tempfile.TemporaryDirectory(prefix="forgetnet-") as folder:
            net = ForgetNet.open(
                Path(folder) / "model",
                encoder="vectors:384",
                experts=[RidgeTrunk(), NeighbourExpert()],
                progress=False,
            )
            with net:
                net.fit(vectors, labels, subjects=names)
                accepted, done = [], []
                for number in range(requests):
                    start = time.perf_counter()
                    pending = net.request(subject=f"person {number * 7}", verify="touched")
                    accepted.append(time.perf_counter() - start)
                    if number < 10:
                        assert pending.receipt().status.value == "erased"
                        done.append(time.perf_counter() - start)
                    else:
                        pending.receipt()
        slow = percentile(accepted, 0.99)
        yield Row(
            f"request to served without it, durable, {count:,} records: median; 99 %",
            f"{spread(accepted)}; {1e3 * slow:.3g} ms",
            "",
            "",
            "99 % below 50 ms",
            slow < 0.05,
        )
        yield Row(f"the same until its receipt, {count:,} records", spread(done))
