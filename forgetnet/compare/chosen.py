"""The methods' settings, by setting: chosen by hand, and seen here.

Of digits and personas on the data of seed 100; of the others as docs/comparison.md says.

The library's own defaults are for large models and stop at the loss of guessing, which small
models pass at once. Here ascent stops at about the loss that examples have which were never seen,
or, where that is far above guessing (a whole class, wrong labels), when the retain set suffers.
What isn't named has its defaults. Knows nothing of the methods but their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgetnet.unlearn import StopRule

__all__ = ["chosen"]

Chosen = Mapping[str, Mapping[str, Any]]
_BY_STEPS = (
    "gradient_ascent",
    "gradient_difference",
    "npo",
    "simnpo",
    "random_label",
    "saliency_mask",
    "bad_teacher",
    "whp",
    "negate_adapter",
    "rmu",
    "idk",
    "dpo",
    "fine_tune",
)


def _by_steps(common: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the same settings for all methods of steps, but for what is different."""
    return {name: {**common, **others.get(name, {})} for name in _BY_STEPS}


def _classifier(stop: StopRule, layer: str, **others: Mapping[str, Any]) -> Chosen:
    common = {"lr": 1e-3, "epochs": 20.0, "batch_size": 32, "stop": stop}
    own: dict[str, Mapping[str, Any]] = {
        "simnpo": {"forget_weight": 1.0},
        "negate_adapter": {"lr": 3e-3},
        "rmu": {"module": layer, "coefficient": 50.0, "retain_weight": 1.0},
        "fine_tune": {"lr": 3e-3, "epochs": 15.0},
        **others,
    }
    return {
        **_by_steps(common, **own),
        "scrub": {"lr": 3e-3, "epochs": 3.0, "batch_size": 32},
        "ssd": {"dampening": 0.2, "stop": StopRule(None, 0.05)},
        "class_pruning": {"lr": 3e-3, "epochs": 5.0, "sparsity": 0.2},
    }


_FAR = StopRule(forget_loss=None, retain_increase=0.2, every=2)
_LONG = {"lr": 3e-3, "epochs": 6.0, "batch_size": 32, "max_epochs": 4}
_RARE = {"lr": 1e-2, "epochs": 15.0, "batch_size": 32, "stop": _FAR}


def _language(stop: StopRule, lr: float = 1e-3, epochs: float = 30.0) -> Chosen:
    return {
        **_by_steps(
            {"lr": lr, "epochs": epochs, "batch_size": 24, "stop": stop},
            simnpo={"forget_weight": 1.0},
            rmu={"module": "transformer.h.1", "retain_weight": 1.0},
            fine_tune={"lr": 3e-3, "epochs": 8.0},
        ),
        "scrub": {"lr": 3e-3, "epochs": 6.0, "batch_size": 24, "max_epochs": 4},
        "ssd": {"by": "batch", "batch_size": 24, "stop": StopRule(None, 0.1)},
        "fisher": {"by": "loop", "alpha": 1e-11, "stop": StopRule(None, 0.3)},
    }


# texts of TOFU that were never seen cost such a model about 9 nats a word; seen on seed 0
_TOFU = _language(StopRule(8.0, 0.5, every=2), lr=3e-4, epochs=60.0)
_TOPIC: Chosen = {
    **_classifier(_FAR, "0"),
    "scrub": _LONG,
    "alignment_calibration": {"lr": 1e-3, "epochs": 20.0, "batch_size": 32, "stop": _FAR},
    "ideal_push": {"lr": 3e-3, "epochs": 20.0, "batch_size": 32},
}
_ALL: Mapping[str, Chosen] = {
    "digits random": _classifier(StopRule(0.2, 0.2, every=1), "3"),
    "digits class": {**_classifier(_FAR, "3"), "scrub": _LONG},
    "digits poisoned": {**_classifier(_FAR, "3"), "scrub": _LONG, "fine_tune": _RARE},
    "adult random": _classifier(StopRule(0.4, 0.2, every=1), "3"),
    "mnist class": {**_classifier(_FAR, "5"), "scrub": _LONG},
    "personas people": _language(StopRule(0.6, 0.1, every=1)),
    "tofu forget01": _TOFU,
    "tofu forget05": _TOFU,
    "tofu forget10": _TOFU,
    "heads topic": _TOPIC,
    "clinc150 topic": _TOPIC,
    "heads-lorentz topic": _TOPIC,
    "clinc150-lorentz topic": _TOPIC,
}


def chosen(name: str, request: str) -> Chosen:
    """Return settings by method for a setting and a request; none where nothing was chosen."""
    return _ALL.get(f"{name} {request}", {})
