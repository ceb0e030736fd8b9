"""Server reflection, so that grpcurl and its like need no proto files: v1, and v1alpha for older tools.

grpcio-reflection serves v1alpha only (grpc/grpc#38576); v1 is the same messages under another package name.
"""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: aio.Server, services: Iterable[str]) -> None:
    """Serve the descriptors of these services."""
    versions = (reflection.SERVICE_NAME, V1)
    _add_v1_descriptor()
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer([*services, *versions], pool=_Pool()).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in versions)
    )


class _Pool:
    """The pool of all descriptors, which here knows the files of methods too: `grpcurl describe` asks for them."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the pool has
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """The file that declares this symbol; protobuf's own answer leaves methods out.

        Raises:
            KeyError: nothing is called so.
        """
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return pool.FindMethodByName(symbol).containing_service.file


def _add_v1_descriptor() -> None:
    """Make v1's own descriptor known: whoever lists it would otherwise be told that it does not exist."""
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    v1 = text_format.Parse(text, FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(v1.SerializeToString())
