#!/usr/bin/env bash
# Builds the example with Debian's packages alone: default-jdk-headless protobuf-compiler
# protobuf-compiler-grpc-java-plugin libgrpc-java libprotobuf-java libnetty-java libperfmark-java.
# With Maven or Gradle it is the usual protobuf plugin on the same contract (docs/clients.md).
set -euo pipefail
cd "$(dirname "$0")"
contract=../../gen/contract.binpb
protos=(apigpu/video/v1/{file,job,operations,video_service}.proto google/rpc/status.proto)
jars=(
  grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} protobuf guava failureaccess
  perfmark-api netty-{buffer,codec,codec-http,codec-http2,common,handler,resolver,transport}
  geronimo-annotation-1.3-spec
)
classpath=build
for jar in "${jars[@]}"; do
  if [ -e "/usr/share/java/$jar.jar" ]; then classpath+=":/usr/share/java/$jar.jar"; fi
done

rm -rf gen build && mkdir -p gen build
# The lite runtime needs neither the rules nor the annotations of the contract.
protoc --descriptor_set_in="$contract" --java_out=lite:gen "${protos[@]}"
protoc --descriptor_set_in="$contract" --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
  --grpc-java_out=lite:gen apigpu/video/v1/video_service.proto
find gen -name '*.java' -print0 | xargs -0 javac -J-XX:TieredStopAtLevel=1 -nowarn -proc:none -d build -cp "$classpath" Main.java
echo "$classpath" > build/classpath
