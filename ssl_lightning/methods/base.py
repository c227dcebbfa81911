"""The base class of all methods: one LightningModule for every paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, dataclass_transform

import lightning
import torch
from torch import Tensor

from ssl_lightning.distributed import gradient_norm, mean_over_ranks, shard, unsharded
from ssl_lightning.errors import InputError, told
from ssl_lightning.methods.hooks import MethodHooks
from ssl_lightning.optim.groups import decayed_to, move_weight_decay, output_layers, parameter_groups
from ssl_lightning.record import record


@dataclass_transform(eq_default=False)
class Declared:
    """A network whose subclasses are dataclasses: what they declare with a type is an argument of the constructor.

    Their networks are made in `__post_init__`. A subclass may also have a constructor of its own.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in vars(cls):
            dataclass(eq=False, repr=False)(cls)
            for field in fields(cls):  # type: ignore[arg-type]
                if field.name in vars(cls):
                    delattr(cls, field.name)  # a default of the class would hide a network of this name


@dataclass(eq=False, repr=False)
class Method(Declared, MethodHooks, lightning.LightningModule):
    """One paper. A subclass declares its settings, makes its networks, and overrides the `MethodHooks` that it needs.

    Args:
        backbone: the network to pretrain, from a batch of inputs to embeddings (B, D), with `out_dim` D.
        optimizer: called with parameter groups, returns the optimizer.
        schedule: called with (optimizer, total_steps, steps_per_epoch), returns a scheduler stepped every step.
    """

    backbone: Any
    optimizer: Callable[..., Any]
    schedule: Callable[..., Any]

    total_steps, steps_per_epoch = 0, 1
    samples, batches_added = 1, 0

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A module before its arguments are set, for these may be networks."""
        self = super().__new__(cls)
        lightning.LightningModule.__init__(self)
        return self

    def __init__(self, optimizer: Callable[..., Any], schedule: Callable[..., Any]) -> None:
        """For a subclass with a constructor of its own, which sets `backbone`."""
        self.optimizer, self.schedule = optimizer, schedule

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer.

        A group may have its own `lr`, which the schedule scales unless it has `scheduled: False`, and
        `weight_decay_end`, which its `weight_decay` approaches along a cosine; by default that of the method.
        """
        return decayed_to(parameter_groups(self, output_layers(self)), self.weight_decay_end)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.in_evaluation:
            getattr(self, name).eval()
        return self

    @property
    def step(self) -> int:
        """Number of optimizer steps before this one, including those before a resume; 0 without a Trainer."""
        return int(self.global_step)

    @property
    def progress(self) -> float:
        """The fraction of all optimizer steps that is done, in [0, 1) during training."""
        return self.step / max(1, self.total_steps)

    @property
    def epoch(self) -> float:
        """The number of epochs that are done, also of a part of one."""
        return self.step / self.steps_per_epoch

    def configure_model(self) -> None:
        """Shards the weights if the strategy asks for it (`trainer=fsdp`)."""
        if self.device_mesh is not None:
            shard(self, self.device_mesh["data_parallel"], "loss")

    def on_train_start(self) -> None:
        self.weights: list[Tensor] = []
        if self.step == 0 and self.declares("learn_from"):
            with unsharded(self):
                self.learn_from(self.trainer.datamodule)  # type: ignore[attr-defined]

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        result = self.loss(batch)
        self.batches_added += 1
        whole = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch
        if self._is_logged() and whole:
            weight = result.get("weight", result["loss"].new_ones(()))
            share = weight / mean_over_ranks(weight)
            scalars = {name: float(mean_over_ranks(x * share)) for name, x in _scalars("train", result).items()}
            scalars["train/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
            record(self.trainer, scalars, self.step + 1)
        return self._weighed(result) if "weight" in result else result

    def _is_logged(self) -> bool:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and (self.step + 1) % every == 0

    def _weighed(self, result: dict[str, Tensor]) -> dict[str, Any]:
        """Replaces the mean over targets by their sum; `on_before_optimizer_step` divides by the number of all targets.

        The mean of means is not the overall mean if ranks or accumulated batches have different numbers of targets.
        """
        if self.trainer.world_size == 1 and self.trainer.accumulate_grad_batches == 1:
            return result
        self.weights.append(result["weight"])
        self.samples = len(result["embedding"])
        shown = {**result, "mean_loss": result["loss"].detach()}
        return {**shown, "loss": result["loss"] * result["weight"] / len(result["embedding"])}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.batches_added:
            self._average_gradient()
        for p in self.frozen():
            p.grad = None
        if self._is_logged():  # before it is clipped
            record(self.trainer, {"health/gradient_norm": float(gradient_norm(self.parameters()))}, self.step + 1)
        move_weight_decay(optimizer, self.progress)

    def _average_gradient(self) -> None:
        """Makes the gradient that of the mean over all targets, or over the batches added, fewer as an epoch ends."""
        parts = self.trainer.accumulate_grad_batches
        divisor: Any = self.batches_added / parts
        if self.weights:
            divisor *= mean_over_ranks(torch.stack(self.weights).mean()) / self.samples
        if self.weights or self.batches_added < parts:
            torch._foreach_div_([p.grad for p in self.parameters() if p.grad is not None], divisor)
        self.weights.clear()
        self.batches_added = 0

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The last step is validated, wherever in an epoch or between two validations it falls."""
        self.trainer.should_stop |= self.step >= self.total_steps

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        result = self.loss(batch)
        scalars = {**_scalars("val", result), "step": torch.tensor(float(self.trainer.global_step))}  # the log's row
        count = int(result["weight"]) if "weight" in result else len(result["embedding"])
        self.log_dict(scalars, batch_size=count, sync_dist=True)

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """The embeddings (B, D) of `trainer.predict`."""
        return self.embed(batch, self.trainer.datamodule.modality.key)  # type: ignore[attr-defined]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Lightning's own; needs the arguments of the constructor, because a checkpoint only holds tensors.

        Raises:
            InputError: arguments are missing.
        """
        line = f"{checkpoint_path} holds only weights, not the networks: load its run with ssl_lightning.load(RUN)"
        with told(f"{line}, or give the arguments of the constructor", TypeError):
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)  # the step counts once this method has returned
        self.after_step(self.progress)

    def configure_optimizers(self) -> Any:
        batches, parts = self._batches_of_an_epoch(), self.trainer.accumulate_grad_batches
        if parts > batches:
            raise InputError(f"trainer.accumulate_grad_batches={parts} is more than the {batches} batches of an epoch")
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise InputError("the length of the training is open: set trainer.max_epochs or trainer.max_steps")
        self.total_steps = int(total)
        self.steps_per_epoch = -(-batches // parts)
        with told("the optimizer refuses its settings", ValueError):
            optimizer = self.optimizer(self.groups())
        schedule = self.schedule(optimizer, total_steps=self.total_steps, steps_per_epoch=self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _batches_of_an_epoch(self) -> int:
        with told("the trainer refuses its settings", ValueError):  # such as a val_check_interval beyond an epoch
            self.trainer.fit_loop.setup_data()
        return int(self.trainer.num_training_batches)

    def compile_parts(self) -> None:
        """Compiles the child networks in place (`torch.compile`); losses and EMA updates stay eager."""
        torch._dynamo.config.recompile_limit = 64  # one graph for each shape, mode and child
        for child in self.children():
            if any(True for _ in child.parameters()):
                child.compile(dynamic=False)


def _scalars(stage: str, result: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{stage}/{name}": value.detach() for name, value in result.items() if name not in ("embedding", "weight")}
