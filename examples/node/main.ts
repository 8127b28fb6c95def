// Turns a picture into a clip: submit, follow through cuts, download.
//   npm ci && npm run generate && npm run build
//   npm start -- http://localhost:3000 picture.jpg clips/            (Connect)
//   npm start -- http://localhost:50051 picture.jpg clips/ grpc      (gRPC)
// The service's key, where it has one, is in APIGPU_KEY.
import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";

import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, type Interceptor, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";

import { type Job, type JobEvent, JobSchema, Job_State } from "./gen/apigpu/video/v1/job_pb.js";
import { type UploadFileRequestSchema, VideoService } from "./gen/apigpu/video/v1/video_service_pb.js";

type Service = Client<typeof VideoService>;

const CHUNK_BYTES = 1024 * 1024;
const PAUSE_MS = 300;
const MAX_SILENT_TRIES = 20;
// What a cut connection or a restarting service looks like; anything else is final.
const CUT = [Code.Unavailable, Code.Aborted, Code.Unknown, Code.Canceled, Code.Internal];

const [url, picture, folder, protocol = "connect"] = process.argv.slice(2);
if (!url || !picture || !folder) {
  console.error("usage: npm start -- URL PICTURE FOLDER [connect|grpc]");
  process.exit(2);
}

const key: Interceptor = (next) => (request) => {
  if (process.env.APIGPU_KEY) request.header.set("x-api-key", process.env.APIGPU_KEY);
  return next(request);
};
const options = { baseUrl: url, interceptors: [key] };
const transport =
  protocol === "grpc"
    ? createGrpcTransport(options)
    : createConnectTransport({ ...options, httpVersion: "1.1" });
const service = createClient(VideoService, transport);

async function* parts(path: string): AsyncGenerator<MessageInitShape<typeof UploadFileRequestSchema>> {
  yield { part: { case: "header", value: { filename: basename(path) } } };
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    yield { part: { case: "chunk", value: chunk } };
  }
}

/** The job's events, each once, however often the connection is cut. */
async function* follow(service: Service, name: string): AsyncGenerator<JobEvent> {
  let afterSequence = 0n;
  for (let tries = 0; tries < MAX_SILENT_TRIES; tries++) {
    try {
      for await (const event of service.watchJob({ name, afterSequence })) {
        tries = 0;
        if (event.event.case === "heartbeat") continue;
        afterSequence = event.sequence;
        yield event;
        if (event.event.case === "finished") return;
      }
    } catch (error) {
      const cut = ConnectError.from(error);
      if (!CUT.includes(cut.code)) throw cut;
      console.log(`cut off (${Code[cut.code]}), going on after event ${afterSequence}`);
    }
    await setTimeout(PAUSE_MS);
  }
  throw new Error("the service cannot be reached");
}

async function* bytes(service: Service, name: string): AsyncGenerator<Uint8Array> {
  for await (const { part } of service.downloadFile({ name })) {
    if (part.case === "chunk") yield part.value;
  }
}

async function run(): Promise<Job> {
  const file = await service.uploadFile(parts(picture!));
  const job = await service.createJob({
    requestId: randomUUID(), // a repeated call makes no second job
    job: create(JobSchema, {
      operation: {
        case: "imagesToVideos",
        value: {
          images: [
            {
              id: "clip",
              image: { source: { case: "file", value: file.name } },
              duration: { seconds: 2n },
            },
          ],
        },
      },
    }),
  });
  for await (const { sequence, progress, event } of follow(service, job.name)) {
    console.log(`${sequence} ${(progress?.percent ?? 0).toFixed(0)} %`);
    if (event.case === "finished") return event.value;
  }
  throw new Error("unreachable");
}

const job = await run();
await mkdir(folder, { recursive: true });
for (const item of job.items) {
  if (!item.output) {
    console.error(`${item.id}: ${item.error?.message}`);
    continue;
  }
  const path = join(folder, item.output.filename);
  await pipeline(Readable.from(bytes(service, item.output.file)), createWriteStream(path));
  console.log(path);
}
// Not by exitCode alone: a connection that was cut may keep Node from ending.
process.exit(job.state === Job_State.SUCCEEDED ? 0 : 1);
