"""The one exception that means "the user asked for something impossible": commands print it as a single line."""


class InputError(ValueError):
    """A mistake in the input of a run; its message says in one line what was wrong and what would be right."""
