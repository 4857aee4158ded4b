"""The recipes that README quotes, trained in float32, as on a processor without bfloat16.

As `accuracy.py`: all 60,000 training images, the last epoch evaluated once per seed on the 10,000 test images.

    python benchmarks/float32.py    # 3 seeds, five CPU minutes, one thread; writes float32.json and .md
    python benchmarks/float32.py --short
"""

import tempfile
from pathlib import Path
from typing import Any

from accuracy import Run, carry_out, per_cent, summarise
from environment import environment
from recording import HERE, footer, mean_sd, options, write

from cnnclf import RECIPES

QUOTED = ("first_look", "handwriting")
SEEDS = 3


def runs(recipe: str) -> list[Run]:
    """List the runs of a recipe."""
    return [Run(RECIPES[recipe] | {"precision": "float32"}, seed, 0) for seed in range(SEEDS)]


def main() -> None:
    """Run what is missing, print and write."""
    args = options(__doc__).parse_args()
    if args.short:
        with tempfile.TemporaryDirectory() as folder:
            one = runs(QUOTED[0])[:1]
            carry_out(one[0], Path(folder))
            print(render(collect({QUOTED[0]: one}, Path(folder))))
        return
    result = collect({recipe: runs(recipe) for recipe in QUOTED}, HERE / ".accuracy")
    print(table := render(result))
    write("float32", result, table)


def collect(of_recipes: dict[str, list[Run]], work: Path) -> dict[str, Any]:
    """Combine what was run, and run the rest."""
    rows = [summarise(recipe, of_recipe, work) for recipe, of_recipe in of_recipes.items()]
    return {"rows": rows, "environment": environment() | {"precision": "float32"}}


def render(result: dict[str, Any]) -> str:
    """Write the result as Markdown."""
    rows = "".join(
        f"| {row['name']} | {len(row['seed'])} | **{mean_sd(per_cent(row, 'accuracy'), 2)}** "
        f"| {mean_sd(per_cent(row, 'five_views'), 2)} | {mean_sd(row['cpu_seconds'])} |\n"
        for row in result["rows"]
    )
    return (
        "# The quoted recipes in float32\n\n"
        'MNIST, as in the table of accuracy, but with `precision="float32"`, which is what a processor without '
        "bfloat16 trains in. Mean ± sd over n seeds; made by `python benchmarks/float32.py`.\n\n"
        "| recipe | n | test accuracy, % | with test-time augmentation, % | CPU seconds a run |\n"
        "|---|---:|---:|---:|---:|\n"
        f"{rows}\n{footer(result['environment'], 'one thread')}\n"
    )


if __name__ == "__main__":
    main()
