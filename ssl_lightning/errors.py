"""The one exception that means "the user asked for something impossible": commands print it as a single line."""


class InputError(ValueError):
    """A mistake in the input of a run; its message says in one line what was wrong and what would be right."""


def mistake_behind(error: BaseException) -> InputError | None:
    """The `InputError` that caused `error`, or is it; None: there is none, it is a defect of ours."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, InputError):
            return link
        seen.append(link)
        link = link.__cause__ or link.__context__
    return None
