"""Evaluation: pure functions of features and labels; nothing here knows methods, runs or the Trainer."""
