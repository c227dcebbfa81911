"""Optimizers, schedules and parameter groups: what a method receives as partials."""
