import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.slurm import Cluster, missing_program


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM of one node, up for the session."""
    if (program := missing_program()) is not None:
        pytest.skip(f"{program} is not installed: apt-get install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own are too long for the name of a socket
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_job_is_left(cluster: Cluster) -> Iterator[None]:
    """A test that fails does not leave the node to its jobs."""
    yield
    cluster.cancel_all()
