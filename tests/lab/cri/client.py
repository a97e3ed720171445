#!/usr/bin/python3
"""Calls an engine's CRI as a kubelet does: one call a line, from one process, timed where it is made.

usage: client.py PROTOCOL SOCKET

A line of input is {"call": METHOD, "with": FIELDS}, of runtime.v1.RuntimeService; "patience": SECONDS goes on calling
while there is no engine. The line of output for it is {"reply": FIELDS, "elapsed_ns": N}, or "error" instead of "reply".
"""
import json
import sys
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


class Runtime:
    def __init__(self, protocol, socket):
        pool = descriptor_pool.DescriptorPool()
        with open(protocol, "rb") as file:
            for described in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
                pool.Add(described)
        self.service = pool.FindServiceByName("runtime.v1.RuntimeService")
        self.target = f"unix://{socket}"
        # Protobuf 4.22 made this a function.
        self.type_of = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
        self.connect()

    def connect(self):
        """A new channel: one that has lost its engine waits a second before it tries again."""
        self.channel = grpc.insecure_channel(self.target, [("grpc.use_local_subchannel_pool", 1)])
        self.methods = {}

    def method(self, name):
        if name not in self.methods:
            method = self.service.methods_by_name[name]
            request = self.type_of(method.input_type)
            call = self.channel.unary_unary(
                f"/{self.service.full_name}/{name}", request_serializer=request.SerializeToString,
                response_deserializer=self.type_of(method.output_type).FromString)
            self.methods[name] = request, call
        return self.methods[name]

    def call(self, name, fields, patience):
        until = time.monotonic() + patience
        while True:
            request, call = self.method(name)
            request = json_format.ParseDict(fields, request())
            start = time.monotonic_ns()
            try:
                reply = call(request, timeout=100)
                elapsed = time.monotonic_ns() - start
                return {"reply": json_format.MessageToDict(reply, preserving_proto_field_name=True), "elapsed_ns": elapsed}
            except grpc.RpcError as error:
                elapsed = time.monotonic_ns() - start
                gone = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    self.channel.close()
                    self.connect()
                if not gone or time.monotonic() > until:
                    return {"error": f"{error.code().name}: {error.details()}", "elapsed_ns": elapsed}
                time.sleep(0.01)


def main(protocol, socket):
    runtime = Runtime(protocol, socket)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(runtime.call(asked["call"], asked.get("with", {}), asked.get("patience", 0))), flush=True)


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
