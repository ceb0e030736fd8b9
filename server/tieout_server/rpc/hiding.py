"""What names another merchant's connection in an answer or an error, and must not for a caller who may not see it.

An organisation has one connection; whoever consents to it learns that it is taken, and no more.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from tieout.v1.connection_service_pb2 import Connection, OrganisationChoice
from tieout_server.errors import OrganisationAlreadyConnectedError

HIDDEN = "hidden"
"""Stands for the connection that has an organisation, where the caller may not see it."""

Sees = Callable[[str], Awaitable[bool]]
"""Whether the connection with this id exists for the caller."""
Answer = TypeVar("Answer", bound=Message)


async def in_answer(answer: Answer, sees: Sees) -> Answer:
    """This answer; a copy of it, where something in it is to be hidden."""
    if all([await sees(choice.connected_as) for choice in _taken(answer)]):
        return answer
    copy = type(answer)()  # the message of an event is shared by all who watch
    copy.CopyFrom(answer)
    for choice in _taken(copy):
        if not await sees(choice.connected_as):
            choice.connected_as = HIDDEN
    return copy


async def in_error(error: Exception, sees: Sees) -> Exception:
    """This error, without the connection that is another merchant's."""
    if not isinstance(error, OrganisationAlreadyConnectedError) or await sees(error.facts.get("connection_id", "")):
        return error
    facts = {name: value for name, value in error.facts.items() if name != "connection_id"}
    return OrganisationAlreadyConnectedError(error.sentence, **facts)


def _taken(answer: Message) -> Iterator[OrganisationChoice]:
    """The organisations in an answer that are another connection's already."""
    for connection in _connections(answer):
        for choice in connection.organisation_choices:
            if choice.connected_as:
                yield choice


def _connections(message: Message) -> Iterator[Connection]:
    """Every connection in a message, wherever it stands."""
    if isinstance(message, Connection):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.full_name.startswith("google."):
            for one in value if field.is_repeated else (value,):
                yield from _connections(one)
