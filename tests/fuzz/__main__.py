"""Looks for bytes that break a target, guided by the code they reach.

    make fuzz                     # all targets, an hour together
    make fuzz SECONDS=60
    python -m tests.fuzz sitemap --seconds 600

Starts from `corpus/TARGET/`; what it learns and what it finds go to `var/fuzz/TARGET/`. A finding is printed with the
file that holds it: `python -m tests.fuzz sitemap --replay FILE` shows it again. Once mended it goes into the corpus, so that
the suite holds it. An input that takes ten seconds or a gigabyte counts as a finding too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
DICTIONARY = HERE / "words.dict"
SECONDS_EACH_INPUT = 10
MIB_EACH_TARGET = 1_024
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_SLOWEST = re.compile(r"stat::slowest_unit_time_sec:\s*(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s*(\d+)")
_REACHED = re.compile(r"cov: (\d+)")


class Run(NamedTuple):
    target: str
    inputs: int
    branches: int
    slowest_seconds: int
    peak_mib: int
    findings: list[str]


def fuzz(target: str, seconds: int, var: Path) -> Run:
    learnt, found = var / target / "learnt", var / target / "found"
    for directory in (learnt, found):
        directory.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz", target, "--here"),
        *(f"-max_total_time={seconds}", f"-timeout={SECONDS_EACH_INPUT}", f"-rss_limit_mb={MIB_EACH_TARGET}"),
        *("-max_len=16384", "-print_final_stats=1", f"-artifact_prefix={found}/", f"-dict={DICTIONARY}"),
        *(str(learnt), str(CORPUS / target)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    (var / target / "log").write_text(said)
    findings = sorted(str(path) for path in found.iterdir())
    if done.returncode and not findings:
        raise SystemExit(f"{target} did not run: {said[-2_000:]}")
    return Run(target, *(_number(pattern, said) for pattern in (_RUNS, _REACHED, _SLOWEST, _PEAK)), findings)


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.findall(text)
    return int(found[-1]) if found else 0


def fuzz_here(target: str, arguments: list[str]) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris  # noqa: PLC0415 - a tool of its own, which the suite does without

    with atheris.instrument_imports(include=["app.scanning", "app.fetching.coding", "app.fetching.guard"]):
        for name in [name for name in sys.modules if name.startswith(("app.", "tests.fuzz.targets"))]:
            del sys.modules[name]
        from tests.fuzz.targets import TARGETS as INSTRUMENTED  # noqa: PLC0415
    atheris.Setup([sys.argv[0], *arguments], INSTRUMENTED[target])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all without one")
    parser.add_argument("--seconds", type=int, default=3_600, help="of all targets together (3600)")
    parser.add_argument("--var", type=Path, default=Path("var/fuzz"), help="where findings go (var/fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input and show what it raises")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments, rest = parser.parse_known_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    targets = arguments.targets or list(TARGETS)
    if arguments.replay:
        TARGETS[targets[0]](arguments.replay.read_bytes())
        return 0
    if arguments.here:
        fuzz_here(targets[0], rest)
    print(f"{'target':10}{'inputs':>12}{'branches':>10}{'slowest':>9}{'peak':>10}  findings")
    findings = 0
    for target in targets:
        run = fuzz(target, arguments.seconds // len(targets), arguments.var)
        findings += len(run.findings)
        print(
            f"{target:10}{run.inputs:12,}{run.branches:10,}{run.slowest_seconds:7} s{run.peak_mib:6} MiB  {len(run.findings)}"
        )
        print("".join(f"  {path}\n" for path in run.findings), end="", flush=True)
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
