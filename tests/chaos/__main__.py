"""`python -m tests.chaos --runs 20`: every scenario again and again with fresh seeds, until each has had its runs.

What came of each run is a line of the results file at once, so a run that is broken off goes on where it was. Recovery
times are from the fault until the last of what it took was being worked on again; late are those past their promise,
which on a machine busy with other things says little. What a machine does not allow counts as no run.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.chaos.arena import Impossible
from tests.chaos.platforms import Platforms
from tests.chaos.results import read, table
from tests.chaos.scenarios import SCENARIOS, Scenario

HEAVY_SHARE = 4  # scenarios that last long run a quarter as often
GIVE_UP_AFTER = 3  # runs in a row that this machine did not allow


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # through all that ends what was started
    options = _options()
    results = Path(options.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in SCENARIOS.values() if not options.only or one.name in options.only]
    with Platforms(Path(options.directory or tempfile.mkdtemp(prefix="chaos-runs-"))) as platforms:
        earlier, lines = read(results), []
        for one in due(chosen, earlier, lines, options.runs):
            told = run(one, _seed(options.seed), platforms)
            lines.append(told)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
            _say(told)
    print(table([*earlier, *lines], chosen))
    found = [line for line in (*earlier, *lines) if line["violations"]]
    for line in found:
        _say(line)
    for line in found:  # last, where whoever reads only a log's end sees it
        print(f"VIOLATED {line['scenario']} (seed {line['seed']}): {line['violations'][0].splitlines()[0][:300]}")
    return int(bool(found))


def run(one: Scenario, seed: int, platforms: Platforms) -> dict:
    began = time.time()
    told: dict[str, object] = {"scenario": one.name, "seed": seed, "commit": _commit(), "at": round(began)}
    told |= {"recovery": None, "late": False, "impossible": None, "violations": []}
    try:
        with platforms.used_by(one, seed) as arena:
            told["recovery"] = one.happens(arena)
            told["late"] = bool(one.bar and told["recovery"] and told["recovery"] > one.bar)
    except Impossible as error:
        told["impossible"] = str(error)
    except Exception as error:  # whatever goes wrong is a finding
        where = "".join(traceback.format_tb(error.__traceback__, limit=-3))
        told["violations"] = [f"{type(error).__name__}: {error}", where, *getattr(error, "__notes__", ())]
    return {**told, "seconds": round(time.time() - began, 1)}


def due(chosen: Sequence[Scenario], earlier: Sequence[dict], lines: Sequence[dict], runs: int) -> Iterator[Scenario]:
    """Rounds of all that want further runs, in random order, so that an evening cut short has seen each of them.

    `lines` is what came of those that were handed out, and grows meanwhile.
    """
    while wanting := [one for one in chosen if _wants(one, earlier, lines, runs)]:
        random.shuffle(wanting)
        wanting.sort(key=lambda one: sorted(one.environment.items()))  # platforms of their own come last, each once
        yield from wanting


def _wants(one: Scenario, earlier: Sequence[dict], lines: Sequence[dict], runs: int) -> bool:
    """Runs that were not possible are none; what was not possible so often of late is not tried again today."""
    mine = [bool(line["impossible"]) for line in lines if line["scenario"] == one.name]
    if len(mine) >= GIVE_UP_AFTER and all(mine[-GIVE_UP_AFTER:]):
        return False
    had = sum(1 for line in (*earlier, *lines) if line["scenario"] == one.name and not line["impossible"])
    return had < (-(-runs // HEAVY_SHARE) if one.heavy else runs)


def _seed(given: int | None) -> int:
    return given if given is not None else random.SystemRandom().randrange(2**32)


def _say(told: dict) -> None:
    recovery = "" if told["recovery"] is None else f", recovered in {told['recovery']:.1f} s"
    late = " LATE" if told["late"] else ""
    impossible = f" NOT POSSIBLE HERE: {told['impossible']}" if told["impossible"] else ""
    print(f"{told['scenario']} (seed {told['seed']}): {told['seconds']:.1f} s{recovery}{late}{impossible}", flush=True)
    for violation in told["violations"]:
        print(f"  VIOLATION {violation[:20_000]}", flush=True)


@cache
def _commit() -> str:
    """Of the code that is run, even if the checkout moves on meanwhile."""
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip()


def _names(text: str) -> list[str]:
    names = text.split(",") if text else []
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(unknown)}")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=1, help="how often each scenario is to have run, earlier runs counted"
    )
    parser.add_argument("--results", default="var/chaos.jsonl", help="where the results are gathered")
    parser.add_argument("--only", type=_names, default=[], help="names, separated by commas")
    parser.add_argument("--seed", type=int, help="the same for every run: to see one again")
    parser.add_argument("--directory", help="for the platforms' data; a temporary one if not given")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
