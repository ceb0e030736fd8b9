"""Server reflection, so that grpcurl and its like need no proto files: v1, and v1alpha for older tools.

grpcio-reflection serves v1alpha only (grpc/grpc#38576); v1 is the same messages under another package name.
"""

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: aio.Server, services: Iterable[str]) -> None:
    """Serve the descriptors of these services."""
    names = [*services, reflection.SERVICE_NAME, V1]
    _add_v1_descriptor()
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": handler}),),
    )


def _add_v1_descriptor() -> None:
    """Make v1's own descriptor known: whoever lists it would otherwise be told that it does not exist."""
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    v1 = text_format.Parse(text, FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(v1.SerializeToString())
