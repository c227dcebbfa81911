"""How a run says that it was asked to stop."""

from pathlib import Path


class Interrupted(BaseException):
    """A signal arrived; the step it arrived in was finished and the run can go on from its checkpoint.

    Not an `Exception`, so that a sweep stops too instead of counting one failed job.
    """

    def __init__(self, signal: int, step: int, folder: Path | None = None) -> None:
        super().__init__(f"stopped after step {step}; go on with: ssl-pretrain resume={folder}")
        self.signal, self.step = signal, step
