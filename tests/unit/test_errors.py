import re

from tieout_server import errors

LINE = re.compile(r"^([ │├└─]*)(\w+Error)\b")


def drawn() -> dict[str, str]:
    """Each error that the head of the module draws, with the one that it hangs on."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := LINE.match(line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            parents[found[2]] = above[depth - 1] if depth else "Exception"
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    classes = [it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, errors.TieoutError)]
    assert drawn() == {kind.__name__: kind.__bases__[0].__name__ for kind in classes}
