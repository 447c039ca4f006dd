"""A job from its plan to its last line: what was done before, the work, the summary, and how to go on."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from seesr.apps.jobs.database import Print, Recipe
from seesr.apps.jobs.folder import Plan
from seesr.apps.jobs.identity import file_identity, model_identity
from seesr.apps.jobs.manifest import Manifest
from seesr.apps.jobs.restore import RestoreOptions
from seesr.apps.jobs.work import Stopped, Work, is_done
from seesr.apps.progress import RestorationBars, say
from seesr.errors import SeesrError
from seesr.restoration.restorer import Restorer
from seesr.system.atomic import remove_parts

GO_ON = "the same command goes on from here"
INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended
_SHOWN = 3


def make_recipe(options: RestoreOptions, model: str, folder: Path, dtype: str, enlarger: Path | None = None) -> Recipe:
    """What makes the results of a run with the model in `folder`; enlarger: file of a network in the model's place.

    Raises:
        SeesrError: the enlarger's file cannot be read.
    """
    described = {**options.described(), "dtype": dtype}
    if enlarger is not None:
        described["enlarger"] = file_identity(enlarger)
    return Recipe(described, model_identity(model, folder))


def tell_left_out(plan: Plan) -> None:
    """Files and folders below the inputs that no photo is read from, and why."""
    if plan.unread:
        kinds = Counter(Path(path).suffix.lower() for path in plan.unread)
        names = ", ".join(plan.unread[:_SHOWN]) + (", …" if len(plan.unread) > _SHOWN else "")
        kinds_told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        say(f"left out, not read: {kinds_told} ({names})")
    if plan.results:
        say(f"left out, results of earlier runs: {plan.results}")


def run_plan(plan: Plan, options: RestoreOptions, recipe: Recipe, load: Callable[[], Restorer]) -> int:
    """Restore a plan's photos, telling what is done; returns the exit code: 0, or 130 after Ctrl-C.

    Raises:
        SeesrError: results of other settings stand there; the only photo failed; or some of several did, the others
            are written by then.
    """
    with Manifest(plan.folder, recipe, lazy=len(plan) == 1) as manifest:
        manifest.overwrites_only_ours = not options.overwrite
        if not options.overwrite:
            check_recipes(plan, manifest)
        tell_left_out(plan)
        for folder in {batch.target for batch in plan.batches}:
            remove_parts(folder)
        if not options.overwrite and _all_done(plan, manifest):
            _tell_done(plan)
            return 0
        try:
            restorer = load()
        except KeyboardInterrupt:
            say(f"stopped before the first photo; {GO_ON}")
            return INTERRUPTED
        with RestorationBars(len(plan)) as bars:
            work = Work(restorer, plan, options, manifest, bars)
            for problem in plan.problems:
                bars.say(f"failed: {problem}", "red")
            try:
                work.run()
            except Stopped:
                stopped = True
            else:
                stopped = False
    return _end(plan, work, stopped)


def _end(plan: Plan, work: Work, stopped: bool) -> int:
    summary = work.summary
    if work.error is not None:
        raise work.error
    if stopped:
        done = "nothing was written" if len(plan) == 1 else f"{summary.finished()} of {summary.total} photos are done"
        say(f"stopped: {done}; {GO_ON}")
        return INTERRUPTED
    if len(plan) == 1 and not plan.problems:
        if summary.skipped:
            _tell_done(plan)
        elif summary.left or summary.others:
            say(summary.lines()[0])
        return 0
    for line in summary.lines(repeat=work.reason is None):
        say(line)
    if work.reason is not None:
        raise SeesrError(
            f"stopped: {work.reason}; {summary.finished()} of {summary.total} photos are done, and {GO_ON}"
        )
    failed = len(summary.failed)
    if plan.problems:
        raise SeesrError(f"{len(plan.problems)} folders cannot be read, and {failed} of {summary.total} photos failed")
    if failed:
        raise SeesrError(f"{failed} of {summary.total} photos failed, as told above; the others are done")
    return 0


def _all_done(plan: Plan, manifest: Manifest) -> bool:
    """Whether no model needs to be loaded."""
    try:
        return not plan.problems and all(
            job.problem is None and is_done(manifest, job, Print.of(job.source)) for job in plan
        )
    except OSError:
        return False


def _tell_done(plan: Plan) -> None:
    what = f"all {len(plan)} photos are" if len(plan) > 1 else f"{next(iter(plan)).target}: is"
    say(f"{what} done already, with these settings; --overwrite does {'them' if len(plan) > 1 else 'it'} again")


def check_recipes(plan: Plan, manifest: Manifest) -> None:
    """No results of two recipes in one folder; a single photo's result is done anew without a word.

    Raises:
        SeesrError: there are results of another recipe among the plan's.
    """
    if plan.single:
        return
    others = list(manifest.other_recipes())
    if not others:
        return
    wanted = {str(job.target) for job in plan}
    standing = [(path, recipe) for path, recipe in others if path in wanted]
    if standing:
        path, older = standing[0]
        number = f"{len(standing)} results" if len(standing) > 1 else "a result"
        raise SeesrError(
            f"{plan.folder}: has {number} of other settings ({difference(older, manifest.recipe)}), as {path}; "
            "choose another folder, or do them again with --overwrite"
        )


def difference(older: Recipe, newer: Recipe) -> str:
    """What differs, in a few words: "scale: 2, now 4"."""
    told = []
    if older.model != newer.model:
        names = older.model.rpartition(" ")[0], newer.model.rpartition(" ")[0]
        told.append(
            f"model: {names[0]}, now {names[1]}" if names[0] != names[1] else f"another model called {names[0]}"
        )
    keys = sorted(older.settings.keys() | newer.settings.keys())
    for key in keys:
        before, now = older.settings.get(key), newer.settings.get(key)
        if before != now:
            told.append(f"{key}: {_word(before)}, now {_word(now)}")
    return "; ".join(told[:_SHOWN]) + ("; …" if len(told) > _SHOWN else "")


def _word(value: object) -> str:
    return "not given" if value is None or value == "" else str(value)
