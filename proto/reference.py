"""Writes the API reference out of the protos and their comments: one page of Markdown per file, and an index."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

NOTE = "<!-- Written by proto/generate.py out of the comments in proto/: edit those. -->"
REASON = "ERROR_REASON_"
# Where things stand: the field numbers of FileDescriptorProto that the path of a comment begins with.
MESSAGE, ENUM, SERVICE, SYNTAX = 4, 5, 6, 12
MEMBER = 2
"""And within: of a service its methods, of a message its fields, of an enum its values."""
NAMES = re.compile(r"(?<=[Ss]ee )[A-Z]\w+|\b[A-Z][a-z]+[A-Z]\w+")
"""What may be a name of the API in a text: words of several words, and what the text says to see."""

Path = tuple[int, ...]


@dataclass(frozen=True)
class File:
    """A proto with its comments by the path of what they are about."""

    proto: FileDescriptorProto
    comments: Mapping[Path, str]

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.proto.name.rpartition("/")[2].removesuffix(".proto") + ".md"

    def comment(self, *path: int) -> str:
        """What is written above something."""
        return self.comments.get(path, "")


@dataclass(frozen=True)
class Links:
    """Where each name of the API is explained, seen from any page."""

    names: Mapping[str, str]
    reasons: Mapping[str, str]

    def to(self, name: str) -> str:
        """The name as a link, or as it is if nothing explains it."""
        return f"[{name}]({self.names[name]})" if name in self.names else name

    def within(self, text: str) -> str:
        """A text with the names in it linked, and the reasons of its "Refuses with …"; code is left alone."""
        parts = re.split(r"(`[^`]*`)", re.sub(r"Refuses [^.]*", lambda found: self._refusing(found.group()), text))
        parts[::2] = [NAMES.sub(lambda found: self.to(found.group()), part) for part in parts[::2]]
        return "".join(parts)

    def _refusing(self, sentence: str) -> str:
        def link(found: re.Match[str]) -> str:
            reason = found.group()
            return f"[{reason}]({self.reasons[reason]})" if reason in self.reasons else reason

        return re.sub(r"\b[A-Z_]{3,}\b", link, sentence)


def pages(protos: FileDescriptorSet) -> dict[str, str]:
    """Every page by its name.

    Args:
        protos: the files of the API with their source information.
    """
    files = [File(proto, _comments(proto)) for proto in protos.file]
    links = _links(files)
    return {"README.md": _index(files, links)} | {file.page: _page(file, links) for file in files}


def _comments(proto: FileDescriptorProto) -> dict[Path, str]:
    found = {tuple(it.path): it.leading_comments or it.trailing_comments for it in proto.source_code_info.location}
    return {path: _unwrapped(text) for path, text in found.items() if text}


def _unwrapped(comment: str) -> str:
    """Paragraphs of one line each, with an empty line between them; `CLI:` begins one."""
    lines = [line.strip() for line in comment.strip().splitlines()]
    paragraphs = re.split(r"\n\n+|\n(?=CLI: )", "\n".join(lines))
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _links(files: list[File]) -> Links:
    names: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for file in files:
        proto = file.proto
        found = [it.name for it in proto.service] + [it.name for it in proto.message_type]
        found += [it.name for it in proto.enum_type]
        found += [rpc.name for service in proto.service for rpc in service.method]
        names |= {name: f"{file.page}#{name.lower()}" for name in found}
        for enum in proto.enum_type:
            coded = [it.name.removeprefix(REASON) for it in enum.value if it.name.startswith(REASON)]
            reasons |= dict.fromkeys(coded, names[enum.name])
    return Links(names, reasons)


def _index(files: list[File], links: Links) -> str:
    lines = [NOTE, "", "# The API, tieout.v1", ""]
    lines += ["Written out of the comments in [proto/](../README.md), which are the manual.", ""]
    for file in files:
        lines += [f"- [{file.page.removesuffix('.md')}]({file.page}): {_first(file.comment(SYNTAX))}"]
    for file in files:
        for number, service in enumerate(file.proto.service):
            lines += ["", f"## {links.to(service.name)}", "", "| RPC | |", "|---|---|"]
            for position, rpc in enumerate(service.method):
                said = _first(file.comment(SERVICE, number, MEMBER, position))
                lines.append(_row(links.to(rpc.name), links.within(said)))
    return "\n".join(lines) + "\n"


def _first(comment: str) -> str:
    """Its first sentence, or the half of it that stands before a colon's examples."""
    return re.split(r"(?<=\.)\s", comment, maxsplit=1)[0]


def _page(file: File, links: Links) -> str:
    lines = [NOTE, "", f"# {file.proto.name}", "", links.within(file.comment(SYNTAX))]
    for number, service in enumerate(file.proto.service):
        lines += _service(file, number, service, links)
    for number, message in enumerate(file.proto.message_type):
        lines += _message(file, number, message, links)
    for number, enum in enumerate(file.proto.enum_type):
        lines += _enum(file, number, enum, links)
    return "\n".join(lines) + "\n"


def _service(file: File, number: int, service: ServiceDescriptorProto, links: Links) -> Iterator[str]:
    yield from ("", f"## {service.name}", "", links.within(file.comment(SERVICE, number)))
    for position, rpc in enumerate(service.method):
        yield from ("", f"### {rpc.name}", "", _signature(rpc, links), "")
        yield links.within(file.comment(SERVICE, number, MEMBER, position))


def _signature(rpc: MethodDescriptorProto, links: Links) -> str:
    asked, answered = (links.to(_short(name)) for name in (rpc.input_type, rpc.output_type))
    asked = f"a stream of {asked}" if rpc.client_streaming else asked
    return f"{asked} → {'a stream of ' if rpc.server_streaming else ''}{answered}"


def _message(file: File, number: int, message: DescriptorProto, links: Links) -> Iterator[str]:
    if message.nested_type or message.enum_type:
        raise NotImplementedError(f"{message.name} nests types: the API has none, and this page could not show them")
    yield from ("", f"## {message.name}", "", links.within(file.comment(MESSAGE, number)))
    if message.field:
        yield from ("", "| Field | Type | |", "|---|---|---|")
    for position, member in enumerate(message.field):
        said = links.within(file.comment(MESSAGE, number, MEMBER, position))
        yield _row(f"`{member.name}` = {member.number}", _type(message, member, links), said)


def _type(message: DescriptorProto, member: FieldDescriptorProto, links: Links) -> str:
    name = FieldDescriptorProto.Type.Name(member.type).removeprefix("TYPE_").lower()
    kind = links.to(_short(member.type_name)) if member.type_name else name
    if member.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {kind}"
    if member.proto3_optional:
        return f"optional {kind}"
    if member.HasField("oneof_index"):
        return f"{kind}, one of `{message.oneof_decl[member.oneof_index].name}`"
    return kind


def _enum(file: File, number: int, enum: EnumDescriptorProto, links: Links) -> Iterator[str]:
    yield from ("", f"## {enum.name}", "", links.within(file.comment(ENUM, number)), "", "| Value | |", "|---|---|")
    for position, value in enumerate(enum.value):
        said = links.within(file.comment(ENUM, number, MEMBER, position))
        yield _row(f"`{value.name}` = {value.number}", said)


def _short(name: str) -> str:
    """`.tieout.v1.Money` as `Money`, `.google.protobuf.Timestamp` as `Timestamp`."""
    return name.rpartition(".")[2]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n\n", "<br>") for cell in cells) + " |"
