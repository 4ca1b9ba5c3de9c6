"""The command line: adaptive-bench COMMAND; COMMANDS below has what there is."""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from adaptive_bench import __version__

SHELL = "-sc"  # Hydra's flag for shell completion
DETACH = {"--detach": "hydra.launcher.detach=true"}  # a flag that Hydra's parser does not know
GROUPS = {
    "run": {
        "train": "one run, or with -m or a sweep file many; takes Hydra's overrides and flags",
        "plan": "the runs that train would make with the same overrides, and which of them are done; trains nothing",
        "tune": "the learning rate of every arm of a sweep, with the same budget and on seeds of their own",
        "profile": "seconds of a step by batch size on this device, as a file for tables --device; takes Hydra's overrides",
        "calibrate": "what DEBA needs to know about an architecture, from one run at a fixed batch size; takes Hydra's overrides",
        "fetch": "download a data set into ROOT/NAME, where dataset.root=ROOT finds it",
        "list": "every option of every setting, with one line each",
    },
    "read": {
        "import": "the logs of another program, a CSV file, as runs of a results folder, for tables to judge",
        "status": "every run of a results folder: done, running, queued, interrupted, diverged, failed, lost",
        "tables": "means, intervals and speed-ups of a results folder",
        "report": "the same as one self-contained HTML page, with figures",
        "sync": "upload what logger=wandb has kept offline in a results folder",
        "compact": "fold the finished runs of a results folder into a few files, and remove their folders; see README.md",
    },
    "check": {
        "targets": "the targets of a results folder's workloads, as a file for --targets; from seeds that the tables do not have",
        "controls": "train the controls of an adaptive arm: its sizes without its feedback, in another order, as a constant",
        "serve-bench": "latency and goodput of serving policies: one by one, or in batches by time; trains nothing",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `adaptive-bench`. Returns the exit code; a user's error is one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["train"]:
        return train(arguments[1:])
    if arguments[:1] == [SHELL]:
        return complete(arguments, os.environ.get("COMP_LINE", ""))
    chosen = parse(arguments or ["--help"])
    try:
        code = chosen.run(chosen)
    except ValueError as error:
        print(f"adaptive-bench: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the pipe has closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    return code or 0


def complete(arguments: list[str], line: str) -> int:
    """Answer the shell's completer, which `adaptive-bench train -sc install=bash` prints: commands, then what Hydra knows."""
    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        print(*COMMANDS)
        return 0
    if words[1] not in ("train", "plan", "calibrate", "profile"):
        return 0  # the shell offers files
    os.environ["COMP_LINE"] = line.replace(f" {words[1]}", "", 1)
    return train(arguments)


def train(overrides: list[str]) -> int:
    """Hand over to Hydra, which runs `run.train` once or, in a sweep, many times."""
    # torch and Hydra take seconds to import: only the command that needs them pays for it
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from adaptive_bench.execution.interruption import Interrupted
    from adaptive_bench.experiment import run
    from adaptive_bench.experiment.sweep import Sweep

    overrides = [DETACH.get(word, word) for word in overrides]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, and we print them as one line
    # a completer is installed for the program's name
    sys.argv = ["adaptive-bench" if SHELL in overrides else "adaptive-bench train", *overrides]
    failed = False
    try:
        job = run.train if wants_traceback else run.train_or_say
        hydra.main(version_base="1.3", config_path=str(conf()), config_name="config")(job)()
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        print(f"adaptive-bench: error: {explain(error)}", file=sys.stderr)
        failed = True
    except KeyboardInterrupt as twice:
        raise Interrupted.by(signal.SIGINT) from twice
    except SystemExit as stopped:  # a sweep whose runs are all done stops Hydra so; `tune` goes on from there
        if isinstance(stopped, Interrupted):
            print(f"adaptive-bench: ended by {stopped}; the same command goes on from what is finished and kept", file=sys.stderr)
        if stopped.code:
            raise
    finally:
        if not wants_traceback:
            del os.environ["HYDRA_FULL_ERROR"]
        unfinished = Sweep.close()
    return 1 if failed or unfinished else 0


def explain(error: Exception) -> str:
    """An error as one line, with the setting that a misspelt one is nearest to."""
    from adaptive_bench.experiment.catalogue import nearest

    if "Error merging 'hydra/launcher/joblib' with schema" in str(error):
        return "hydra-joblib-launcher is installed, whose place ours has taken: pip uninstall hydra-joblib-launcher"
    misspelt = re.search(r"Could not override '([^']+)'", str(error))
    if misspelt and misspelt[1] == "hydra.launcher.detach":
        return "--detach: the runs of this launcher end with its process; take hydra/launcher=slurm"
    meant = nearest(misspelt[1], conf()) if misspelt else ""
    return " ".join(str(error).split()) + (f" Did you mean {meant}?" if meant else "")


def conf() -> Path:
    """The folder of configurations: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def parse(arguments: list[str]) -> argparse.Namespace:
    listed = "\n\n".join(
        f"{group}:\n" + "\n".join(f"  {name:<12} {text}" for name, text in named.items()) for group, named in GROUPS.items()
    )
    parser = argparse.ArgumentParser(
        prog="adaptive-bench",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=f"A referee for adaptive batch-size and block-size schedulers.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="adaptive-bench")
    commands.add_parser("train", add_help=False)
    for name, function in (("tables", tables), ("report", report), ("status", status), ("compact", compact), ("sync", sync)):
        command = commands.add_parser(name, description=COMMANDS[name])
        command.add_argument("results", nargs="?", default="results", help="results folder (default: results)")
        command.set_defaults(run=function)
        if name == "status":
            command.add_argument("--watch", action="store_true", help="a page that follows the runs until all have ended")
        if name in ("tables", "report"):
            add_question(command)
            command.add_argument("--wide", action="store_true", help="every column, those of stability, too")
        if name == "tables":
            command.add_argument(
                "--metric", default="final", help="column of the records: final (default), best, samples, steps, seconds ..."
            )
            command.add_argument("--format", choices=("text", "md", "csv", "tex", "json"), default="text")
            command.add_argument("--explain", action="store_true", help="text: how the numbers are computed")
        if name == "report":
            command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html")
    command = commands.add_parser("import", description=COMMANDS["import"])
    command.add_argument(
        "file", type=Path, metavar="FILE.csv", help="arm, seed, samples, metric, value, size; if known seconds, split"
    )
    command.add_argument("results", nargs="?", type=Path, default=Path("results"), help="results folder (default: results)")
    for kind, meaning in (("column", "OURS=THEIRS: a column of another name"), ("constant", "OURS=VALUE: of all rows")):
        command.add_argument(f"--{kind}", action="append", default=[], metavar="OURS=...", help=meaning)
    command.set_defaults(run=import_logs)
    command = commands.add_parser("tune", description=COMMANDS["tune"])
    command.add_argument("sweep", metavar="SWEEP", help="a sweep over arm=NAME,NAME,..., as in sweep=SWEEP")
    command.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for train, such as arm=A,B or results=DIR")
    command.add_argument("-o", "--output", type=Path, default=Path("tuned.yaml"), metavar="FILE.yaml", help="default: tuned.yaml")
    command.add_argument("--rates", type=int, default=5, help="learning rates of each arm (default: 5)")
    command.add_argument("--factor", type=float, default=2.0, help="between one rate and the next (default: 2)")
    command.add_argument("--seeds", default="100,101", help="that have no part in the table (default: 100,101)")
    command.set_defaults(run=tune)
    command = commands.add_parser("controls", description=COMMANDS["controls"])
    command.add_argument("results", type=Path, help="results folder with finished runs of the arm")
    command.add_argument("arm", metavar="ARM", help="the arm, as tables name it")
    command.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as hydra/launcher=joblib, as for train")
    command.add_argument("--write", type=Path, metavar="DIR", help="only write DIR/sweep/NAME.yaml, for train --config-dir DIR")
    add_config_dir(command)
    command.set_defaults(run=controls)
    command = commands.add_parser("targets", description=COMMANDS["targets"])
    command.add_argument("results", help="results folder of runs on other seeds than those of the table")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.yaml")
    command.add_argument("--baseline", metavar="NAME", help="the arm that sets the targets")
    command.add_argument("--fraction", type=float, default=0.95, help="of the way to its median best (default: 0.95)")
    command.set_defaults(run=targets)
    command = commands.add_parser("calibrate", description=COMMANDS["calibrate"])
    command.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="model=..., dataset=..., epochs=... as for train")
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE.yaml", help="default: RESULTS/calibrations/MODEL-DATASET-BATCH.yaml"
    )
    command.set_defaults(run=calibrate)
    command = commands.add_parser("profile", description=COMMANDS["profile"])
    command.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE",
        help="model=..., dataset=..., device=... as for train; sizes=1,2,4 (batches) and blocks=16,32 (of texts) are its own",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE.yaml", help="default: RESULTS/profiles/MODEL-DATASET-PRECISION-DEVICE.yaml"
    )
    command.set_defaults(run=profile)
    command = commands.add_parser("plan", description=COMMANDS["plan"])
    command.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="sweep=..., arm=A,B, seed=range(5)... as for train")
    add_config_dir(command)
    command.set_defaults(run=plan)
    add_serve_bench(commands.add_parser("serve-bench", description=COMMANDS["serve-bench"]))
    command = commands.add_parser("fetch", description=COMMANDS["fetch"])
    command.add_argument("name", metavar="NAME", help="cifar10, cifar100, tiny_imagenet, ptb or wikitext2")
    command.add_argument("--root", type=Path, default=Path("data"), help="the folder of all data sets (default: data)")
    command.set_defaults(run=fetch)
    command = commands.add_parser("list", description=COMMANDS["list"])
    add_config_dir(command)
    command.set_defaults(run=list_options)
    chosen, rest = parser.parse_known_args(arguments)
    if "overrides" in chosen:  # argparse takes no overrides after an option
        chosen.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-") and word != "-m"]  # as it stands in a command of train
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return chosen


def add_question(command: argparse.ArgumentParser) -> None:
    """What a table or a report is asked."""
    command.add_argument("--baseline", metavar="NAME", help="the arm that others are compared with")
    command.add_argument("--target", type=float, help="validation metric to reach, of one workload (default: from the baseline)")
    command.add_argument("--targets", metavar="FILE", help="targets of all workloads, written by `adaptive-bench targets`")
    command.add_argument("--endpoint", choices=("samples", "updates", "seconds"), default="samples", help="of the verdicts")
    command.add_argument("--margin", type=float, help="loss that counts as none (default: 0.5 points, or 1 %% of perplexity)")
    command.add_argument(
        "--allow-mixed-timing", action="store_true", help="print seconds although devices, threads or jobs differ"
    )
    command.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="FILE",
        help="re-time runs by a profile, one a workload; see `adaptive-bench profile`",
    )
    command.add_argument("--allow-mixed-versions", action="store_true", help="pool runs of other sources or torch")
    command.add_argument("--skip-damaged", action="store_true", help="leave out runs whose files cannot be read, with a warning")


def question(chosen: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_question` as those of `analysis.table`."""
    from adaptive_bench.analysis import read_goals, read_profile

    names = ("baseline", "target", "margin", "allow_mixed_timing", "allow_mixed_versions")
    return {name: getattr(chosen, name) for name in names} | {
        "endpoint": {"updates": "steps"}.get(chosen.endpoint, chosen.endpoint),
        "targets": read_goals(chosen.targets) if chosen.targets else None,
        "devices": [read_profile(file) for file in chosen.device],
    }


def add_config_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of your own options, as for train")


def add_serve_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="RUN", help="RESULTS/runs/DIGEST of a run with keep_weights=true, served live"
    )
    command.add_argument("--tau0", type=float, metavar="SECONDS", help="instead of RUN: seconds a forward pass ...")
    command.add_argument("--alpha", type=float, metavar="SECONDS", help="... and seconds a request in it; simulated")
    command.add_argument("--deadline", type=float, metavar="SECONDS", help="for every answer (default: 5 passes of one request)")
    command.add_argument("--window", type=float, metavar="SECONDS", help="the window's wait (default: half the deadline)")
    command.add_argument("--queue", type=int, default=1_000, metavar="N", help="requests that may wait (default: 1000)")
    command.add_argument(
        "--loads", type=float, nargs="+", default=[0.5, 0.8, 0.95], metavar="SHARE", help="of the saturated rate"
    )
    command.add_argument("--requests", type=int, metavar="N", help="a row (default: 20000, live 2000)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--replay", type=Path, metavar="FILE", help="arrivals to replay, too: a time in seconds a line")
    command.add_argument("--figure", type=Path, metavar="FILE.png", help="draw latency against throughput")
    add_config_dir(command)
    command.set_defaults(run=serve_bench)


def plan(chosen: argparse.Namespace) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from adaptive_bench.experiment.plans import show

    try:
        show(chosen.overrides, conf=conf(), more=chosen.config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error


def tables(chosen: argparse.Namespace) -> None:
    from adaptive_bench.analysis import print_text, read, render, table

    made = table(
        read(chosen.results, skip_damaged=chosen.skip_damaged), metric=chosen.metric, wide=chosen.wide, **question(chosen)
    )
    if chosen.format == "text":
        from adaptive_bench.experiment.status import console

        print_text(made, console(), wide=chosen.wide, explain=chosen.explain)
    else:
        print(render(made, chosen.format))


def report(chosen: argparse.Namespace) -> None:
    from adaptive_bench import analysis

    runs = analysis.read(chosen.results, skip_damaged=chosen.skip_damaged)
    analysis.report(runs, chosen.output, wide=chosen.wide, **question(chosen))
    print(f"report: {chosen.output}")


def targets(chosen: argparse.Namespace) -> None:
    from adaptive_bench.analysis import read, write_goals

    print(*write_goals(read(chosen.results), chosen.output, baseline=chosen.baseline, fraction=chosen.fraction), sep="\n")


def tune(chosen: argparse.Namespace) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from adaptive_bench.experiment.tuning import Grid
    from adaptive_bench.experiment.tuning import tune as tuned

    try:
        seeds = tuple(int(seed) for seed in chosen.seeds.split(","))
    except ValueError as error:
        raise ValueError(f"--seeds {chosen.seeds}: whole numbers with commas between them are expected") from error
    try:
        grid = Grid(rates=chosen.rates, factor=chosen.factor, seeds=seeds)
        lines = tuned(chosen.sweep, chosen.overrides, grid=grid, output=chosen.output, conf=conf(), train=train)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error
    print(*lines, f"tuned: {chosen.output}", sep="\n")


def controls(chosen: argparse.Namespace) -> int:
    from adaptive_bench.analysis import read
    from adaptive_bench.analysis.controls import write_controls
    from adaptive_bench.experiment.catalogue import check_targets

    folder = chosen.write or chosen.results / "controls"
    written = write_controls(read(chosen.results), chosen.arm, folder)
    check_targets(written, conf(), more=chosen.config_dir)
    print(*(f"controls: {path}" for path in written), sep="\n", flush=True)
    if chosen.write:
        return 0
    places = ",".join(f"file://{each.resolve()}" for each in (folder, chosen.config_dir) if each)
    search, results = f"hydra.searchpath=[{places}]", f"results={chosen.results}"
    return max(train([search, f"sweep={path.stem}", results, *chosen.overrides]) for path in written)


def status(chosen: argparse.Namespace) -> None:
    from adaptive_bench.experiment.board import watch
    from adaptive_bench.experiment.status import show

    (watch if chosen.watch else show)(Path(chosen.results))


def compact(chosen: argparse.Namespace) -> None:
    from adaptive_bench.compact import fold

    folded, left = fold(Path(chosen.results))
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items()))
    print(
        f"compact: {folded} runs folded into {Path(chosen.results) / 'compact'}, {sum(left.values())} left"
        + f" ({reasons})" * any(left)
    )


def import_logs(chosen: argparse.Namespace) -> None:
    from adaptive_bench.experiment.imported import import_logs

    if unfinished := [word for word in (*chosen.column, *chosen.constant) if "=" not in word]:
        raise ValueError(f"{unfinished[0]}: OURS=... is expected, such as --column samples=_step")
    named, given = (dict(word.split("=", 1) for word in words) for words in (chosen.column, chosen.constant))
    added, before = import_logs(chosen.file, chosen.results, columns=named, constants=given)
    print(f"import: {added} runs added to {chosen.results}, {before} were there before")


def sync(chosen: argparse.Namespace) -> int:
    from adaptive_bench.loggers.wandb import sync

    return sync(Path(chosen.results))


def calibrate(chosen: argparse.Namespace) -> None:
    from adaptive_bench.experiment.calibration import calibrate

    print(f"calibration: {calibrate(chosen.overrides, conf=conf(), output=chosen.output)}")


def profile(chosen: argparse.Namespace) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from adaptive_bench.experiment.profile import profile

    try:
        made = profile(chosen.overrides, conf=conf(), output=chosen.output)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error
    print(f"profile: {made.file}: {made.said}")


def serve_bench(chosen: argparse.Namespace) -> None:
    from adaptive_bench.serving import render
    from adaptive_bench.serving.arrivals import read
    from adaptive_bench.serving.bench import Conditions, Served, bench
    from adaptive_bench.serving.live import measured_profile
    from adaptive_bench.serving.policies import Profile

    given = [chosen.tau0 is not None, chosen.alpha is not None]
    if any(given) == (chosen.folder is not None) or any(given) != all(given):
        raise ValueError("either a run's folder or both --tau0 and --alpha are expected")
    if chosen.folder is None:
        model, profile = None, Profile(tau0=chosen.tau0, alpha=chosen.alpha)
    else:
        from adaptive_bench.experiment.trained import trained

        model = Served(*trained(chosen.folder, conf=conf(), more=chosen.config_dir))
        profile = measured_profile(model.forward, model.samples)
    under = Conditions(
        deadline=5 * profile.seconds(1) if chosen.deadline is None else chosen.deadline,
        window=chosen.window,
        queue=chosen.queue,
        loads=chosen.loads,
        requests=chosen.requests if chosen.requests is not None else 20_000 if model is None else 2_000,
        seed=chosen.seed,
        recording=read(chosen.replay) if chosen.replay else (),
    )
    rows = bench(profile, under, model=model)
    print(render.markdown(rows, profile, under))
    if chosen.figure:
        render.save(render.figure(rows, under), chosen.figure)


def fetch(chosen: argparse.Namespace) -> None:
    from adaptive_bench.datasets.fetch import fetch

    written = [str(path) for path in fetch(chosen.name, root=chosen.root)]
    print(*written or [f"{chosen.root} has {chosen.name} already"], sep="\n")


def list_options(chosen: argparse.Namespace) -> None:
    from adaptive_bench.experiment.catalogue import show

    show(conf(), more=chosen.config_dir)


if __name__ == "__main__":
    sys.exit(main())
