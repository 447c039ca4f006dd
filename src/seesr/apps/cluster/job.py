"""A cluster job in its order: what makes the results, what is done, Ray, the work."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from seesr.apps.cluster.manifest import Manifest
from seesr.apps.cluster.places import Place
from seesr.apps.cluster.plan import Listing, Wishes, find_work
from seesr.apps.cluster.rays import Pool, choose_pool, ray_running
from seesr.apps.cluster.run import run_jobs
from seesr.apps.cluster.worker import Described, Task, describe
from seesr.apps.jobs.database import Recipe
from seesr.apps.jobs.run import tell_left_out
from seesr.apps.progress import say


@dataclass(frozen=True)
class Asked:
    """What the user asked for. address: of a Ray cluster. actors, gpus, cpus: None for what the machines have."""

    address: str | None = None
    actors: int | None = None
    gpus: float | None = None
    cpus: int | None = None
    batch: int = 16
    dry: bool = False


def do_job(task: Task, listing: Listing, target: Place, asked: Asked) -> int:
    """Restore what is listed and not done; returns the exit code.

    On this machine Ray starts only when there is something to do.

    Raises:
        SeesrError: what `find_work`, Ray or the job raise.
    """
    listed = {file.key: file.size for file in target.files()}
    manifest = Manifest(target, listed)
    with ExitStack() as stack:
        pool: Pool | None = None
        if asked.address is None:
            task = replace(task, gpu=_has_gpu() if asked.gpus is None else asked.gpus > 0)
            here = describe(task)
        else:
            alone = stack.enter_context(ray_running(asked.address))
            pool = choose_pool(asked.actors, asked.gpus, asked.cpus, alone)
            task = replace(task, gpu=pool.gpus > 0, threads=pool.cpus)
            here = _describe_there(task, pool)
        recipe = Recipe(here.settings, here.model)
        options = task.options
        wishes = Wishes(options.overwrite, options.save_prompts, options.only_smaller)
        jobs = find_work(listing, manifest, listed, recipe, wishes)
        tell_left_out(listing.plan)
        before = len(listing.plan) - len(jobs)
        if asked.dry:
            say(f"{len(jobs)} to do" + (f", {before} done before" if before else "") + "; nothing was written")
            return 0
        problems = listing.problems()
        if not len(jobs) and not problems:
            say(f"all {before} photos are done already, with these settings; --overwrite does them again")
            return 0
        if pool is None:
            alone = stack.enter_context(ray_running(None))
            pool = choose_pool(asked.actors, asked.gpus, asked.cpus, alone)
        manifest.begin(recipe)
        task = replace(task, threads=pool.cpus, dtype=here.dtype, recipe=recipe.digest, run=manifest.run)
        return run_jobs(jobs, before, problems, task, manifest, pool, asked.batch)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _describe_there(task: Task, pool: Pool) -> Described:
    """What makes the results on a machine of the cluster that gets to restore."""
    import ray

    from seesr.apps.cluster.run import user_error

    share: dict[str, Any] = {"num_gpus": pool.gpus} if pool.gpus else {"num_cpus": pool.cpus}
    try:
        found: Described = ray.get(ray.remote(describe).options(**share).remote(task))
    except Exception as error:
        raise user_error(error) from error
    return found
