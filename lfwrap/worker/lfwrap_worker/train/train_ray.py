"""Train on Ray as the engine does with ``USE_RAY=1``, and stop well: ``train_ray ENGINE_YAML [KEY=VALUE]...``.

The engine asks for ten CPUs for each of *all* devices of the cluster, and waits forever where there are fewer; here
each process gets one device and its share of the CPUs. A SIGTERM to this process, the driver, becomes a request
that the processes look for after each update, on whatever machine they are: they save a checkpoint and end.
"""

import os
import signal
import sys
import threading
from typing import Any

from lfwrap_worker.start import FOLDER
from lfwrap_worker.train import compiled_layers

MOST_CPUS = 10  # for each process, as the engine asks


def main() -> None:
    """Start or find the cluster, then let the engine train on it."""
    import ray
    from llamafactory.hparams import get_ray_args, read_args
    from llamafactory.train import tuner

    values = read_args()
    if compiled_layers.is_wanted():  # by each process itself
        values[compiled_layers.ENGINE_KEY] = False
    wanted = get_ray_args(values)
    options = wanted.ray_init_kwargs if isinstance(wanted.ray_init_kwargs, dict) else {}
    if not (os.environ.get("RAY_ADDRESS") or "address" in options):
        cores = max(wanted.ray_num_workers, len(os.sched_getaffinity(0)))
        options = {"num_cpus": cores, "include_dashboard": False, **options}
    ray.init(**options)
    if os.environ.get("CUDA_VISIBLE_DEVICES"):  # the cluster was told; in each process Ray itself shows one device
        del os.environ["CUDA_VISIBLE_DEVICES"]
    if values.get("master_addr") is None:  # the engine would ask the dashboard, which plain Ray does not have
        values["master_addr"] = ray.util.get_node_ip_address()
    place_workers(tuner, wanted.ray_num_workers)
    name = f"lfwrap-stop-{os.getpid()}"
    flag = start_flag(name)
    tuner.Worker = make_worker(tuner.Worker, name)
    pass_on_sigterm(flag)
    tuner.run_exp(values)


def place_workers(tuner: Any, workers: int) -> None:
    """One device and a fair share of the CPUs for each process, no more."""
    import ray
    from ray.util.placement_group import placement_group

    device = tuner.get_device_name().upper()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = [node.get("CPU", 0) // node[device] for node in nodes if node.get(device)]
    bundle = {"CPU": max(1, min([MOST_CPUS, *map(int, shares)]))}
    if device != "CPU":
        bundle[device] = 1
    configure = tuner.get_ray_remote_config_for_worker

    def configure_worker(**options: Any) -> dict[str, Any]:
        """The engine's options of a process, with its fair share of the CPUs."""
        return {**configure(**options), "num_cpus": bundle["CPU"]}

    tuner.get_placement_group = lambda _: (placement_group([bundle] * workers, strategy="PACK"), bundle)
    tuner.get_ray_remote_config_for_worker = configure_worker


def start_flag(name: str) -> Any:
    """An actor of this name that remembers whether somebody has asked the training to stop."""
    import ray

    class StopFlag:
        """A flag in the cluster that asks all processes to stop."""

        def __init__(self) -> None:
            self._asked = False

        def ask(self) -> None:
            """Ask the training to stop."""
            self._asked = True

        def is_asked(self) -> bool:
            """Whether the training was asked to stop."""
            return self._asked

    flag = ray.remote(num_cpus=0)(StopFlag).options(name=name).remote()
    ray.get(flag.is_asked.remote())
    return flag


def make_worker(base: Any, flag_name: str) -> Any:
    """The engine's actor, with the logs, heartbeats and callbacks of a process that torchrun would have started."""
    here = str(FOLDER)

    class Worker(base):  # type: ignore[misc]  # the engine has no types
        """The engine's actor, which trains with lfwrap's callbacks."""

        def _training_function(self, config: dict[str, Any]) -> None:
            import ray

            if here not in sys.path:  # Ray puts the driver's folder there itself, but for a job with a `working_dir`
                sys.path.append(here)
            from lfwrap_worker.train import train_engine

            train_engine.extend_engine()
            flag = ray.get_actor(flag_name)
            is_first = os.environ["RANK"] == "0"
            train_engine.train_rank(
                lambda callbacks: base._training_function(self, {**config, "callbacks": callbacks}),  # noqa: SLF001
                lambda: is_first and ray.get(flag.is_asked.remote()),
            )

    return Worker


def pass_on_sigterm(flag: Any) -> None:
    """Tell the flag of a SIGTERM; not in the handler itself, as Ray may be in the middle of something."""
    import ray

    asked = threading.Event()

    def tell() -> None:
        """Set the flag once SIGTERM has arrived."""
        asked.wait()
        ray.get(flag.ask.remote())

    threading.Thread(target=tell, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
