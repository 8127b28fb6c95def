// Turns a picture into a clip: submit, follow through cuts, download.
//   protoc --descriptor_set_in=../../gen/contract.binpb --java_out=gen --grpc-java_out=gen FILES
//   (which FILES, and which jars: docs/clients.md, or build.sh beside this file)
//   java -cp ... Main localhost:50051 picture.jpg clips/
// The service's key, where it has one, is in APIGPU_KEY.

import apigpu.video.v1.FileOuterClass;
import apigpu.video.v1.JobOuterClass.Item;
import apigpu.video.v1.JobOuterClass.Job;
import apigpu.video.v1.JobOuterClass.JobEvent;
import apigpu.video.v1.Operations.Image;
import apigpu.video.v1.Operations.ImagesToVideos;
import apigpu.video.v1.Operations.MediaSource;
import apigpu.video.v1.VideoServiceGrpc;
import apigpu.video.v1.VideoServiceOuterClass.CreateJobRequest;
import apigpu.video.v1.VideoServiceOuterClass.DownloadFileRequest;
import apigpu.video.v1.VideoServiceOuterClass.UploadFileHeader;
import apigpu.video.v1.VideoServiceOuterClass.UploadFileRequest;
import apigpu.video.v1.VideoServiceOuterClass.WatchJobRequest;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import io.grpc.Channel;
import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

public final class Main {
  private static final int CHUNK_BYTES = 1024 * 1024;
  private static final int PAUSE_MS = 300;
  private static final int MAX_SILENT_TRIES = 20;
  // What a cut connection or a restarting service looks like; anything else is final.
  private static final Set<Status.Code> CUT =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.ABORTED, Status.Code.UNKNOWN,
          Status.Code.CANCELLED, Status.Code.INTERNAL);

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 3) {
      System.err.println("usage: java Main HOST:PORT PICTURE FOLDER");
      System.exit(2);
    }
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(arguments[0])
            .usePlaintext() // without TLS: leave this out where the service has a certificate
            .intercept(key())
            .build();
    try {
      Job job = make(channel, Path.of(arguments[1]));
      boolean whole = save(channel, job, Files.createDirectories(Path.of(arguments[2])));
      System.exit(whole ? 0 : 1);
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static ClientInterceptor key() {
    Metadata metadata = new Metadata();
    String key = System.getenv("APIGPU_KEY");
    if (key != null) {
      metadata.put(Metadata.Key.of("x-api-key", Metadata.ASCII_STRING_MARSHALLER), key);
    }
    return MetadataUtils.newAttachHeadersInterceptor(metadata);
  }

  private static Job make(Channel channel, Path picture) throws Exception {
    Image image =
        Image.newBuilder()
            .setId("clip")
            .setImage(MediaSource.newBuilder().setFile(upload(channel, picture)))
            .setDuration(Duration.newBuilder().setSeconds(2))
            .build();
    CreateJobRequest request =
        CreateJobRequest.newBuilder()
            .setRequestId(UUID.randomUUID().toString()) // a repeated call makes no second job
            .setJob(Job.newBuilder().setImagesToVideos(ImagesToVideos.newBuilder().addImages(image)))
            .build();
    return follow(channel, VideoServiceGrpc.newBlockingStub(channel).createJob(request).getName());
  }

  /** Prints the job's events, each once, however often the connection is cut. */
  private static Job follow(Channel channel, String name) throws InterruptedException {
    long after = 0;
    for (int tries = 0; tries < MAX_SILENT_TRIES; tries++) {
      WatchJobRequest request =
          WatchJobRequest.newBuilder().setName(name).setAfterSequence(after).build();
      try {
        var events = VideoServiceGrpc.newBlockingStub(channel).watchJob(request);
        while (events.hasNext()) {
          JobEvent event = events.next();
          tries = 0;
          if (event.hasHeartbeat()) {
            continue;
          }
          after = event.getSequence();
          System.out.printf("%d %.0f %%%n", after, event.getProgress().getPercent());
          if (event.hasFinished()) {
            return event.getFinished();
          }
        }
      } catch (StatusRuntimeException error) {
        if (!CUT.contains(error.getStatus().getCode())) {
          throw error;
        }
        System.out.printf("cut off (%s), going on after event %d%n",
            error.getStatus().getCode(), after);
      }
      Thread.sleep(PAUSE_MS);
    }
    throw new IllegalStateException("the service cannot be reached");
  }

  private static String upload(Channel channel, Path path) throws Exception {
    CompletableFuture<String> name = new CompletableFuture<>();
    StreamObserver<UploadFileRequest> parts =
        VideoServiceGrpc.newStub(channel).uploadFile(new Answer(name));
    UploadFileHeader.Builder header =
        UploadFileHeader.newBuilder().setFilename(path.getFileName().toString());
    parts.onNext(UploadFileRequest.newBuilder().setHeader(header).build());
    try (InputStream input = Files.newInputStream(path)) {
      for (byte[] chunk; (chunk = input.readNBytes(CHUNK_BYTES)).length > 0; ) {
        parts.onNext(UploadFileRequest.newBuilder().setChunk(ByteString.copyFrom(chunk)).build());
      }
    }
    parts.onCompleted();
    return name.get(60, TimeUnit.SECONDS);
  }

  private record Answer(CompletableFuture<String> name)
      implements StreamObserver<FileOuterClass.File> {
    public void onNext(FileOuterClass.File file) {
      name.complete(file.getName());
    }

    public void onError(Throwable error) {
      name.completeExceptionally(error);
    }

    public void onCompleted() {}
  }

  private static boolean save(Channel channel, Job job, Path folder) throws Exception {
    for (Item item : job.getItemsList()) {
      if (!item.hasOutput()) {
        System.err.printf("%s: %s%n", item.getId(), item.getError().getMessage());
        continue;
      }
      Path path = folder.resolve(item.getOutput().getFilename());
      DownloadFileRequest request =
          DownloadFileRequest.newBuilder().setName(item.getOutput().getFile()).build();
      try (OutputStream output = Files.newOutputStream(path)) {
        var parts = VideoServiceGrpc.newBlockingStub(channel).downloadFile(request);
        while (parts.hasNext()) {
          parts.next().getChunk().writeTo(output);
        }
      }
      System.out.println(path);
    }
    return job.getState() == Job.State.SUCCEEDED;
  }
}
