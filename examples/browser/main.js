// The Connect protocol by hand: one POST for a call, and for a stream a body of envelopes, each
// five bytes (flags, length) and JSON. Whoever has a build takes @connectrpc/connect-web instead.
const PAUSE_MS = 300;
const MAX_SILENT_TRIES = 20;
const CUT = ["unavailable", "aborted", "canceled"];
const END_OF_STREAM = 2;

const field = (id) => document.getElementById(id);

class Refused extends Error {
  constructor({ code, message, details = [] }) {
    super(message);
    this.code = code;
    // What a program can act on: the fields to blame.
    this.fields = details.flatMap(({ debug }) => debug?.fieldViolations ?? []).map((v) => v.field);
  }
}

function post(method, body, type) {
  const headers = { "content-type": type, "connect-protocol-version": "1" };
  if (field("key").value) headers["x-api-key"] = field("key").value;
  const url = `${field("service").value}/apigpu.video.v1.VideoService/${method}`;
  return fetch(url, { method: "POST", headers, body });
}

async function call(method, request) {
  const response = await post(method, JSON.stringify(request), "application/json");
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer);
  return answer;
}

/** The messages of a server stream. A cut connection is an error like any failed fetch. */
async function* stream(method, request) {
  const message = new TextEncoder().encode(JSON.stringify(request));
  const envelope = new Uint8Array(5 + message.length);
  new DataView(envelope.buffer).setUint32(1, message.length);
  envelope.set(message, 5);
  const response = await post(method, envelope, "application/connect+json");
  if (!response.ok) throw new Refused(await response.json());
  for await (const { flags, body } of envelopes(response.body.getReader())) {
    if (!(flags & END_OF_STREAM)) yield body;
    else if (body.error) throw new Refused(body.error);
    else return;
  }
  throw new TypeError("the stream was cut off");
}

async function* envelopes(reader) {
  let buffer = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
    while (buffer.length >= 5) {
      const end = 5 + new DataView(buffer.buffer, buffer.byteOffset).getUint32(1);
      if (buffer.length < end) break;
      const text = new TextDecoder().decode(buffer.subarray(5, end));
      yield { flags: buffer[0], body: JSON.parse(text) };
      buffer = buffer.subarray(end);
    }
  }
}

/** The job's events, each once, however often the connection is cut. */
async function* follow(name) {
  let afterSequence = "0"; // 64-bit numbers are strings in JSON
  for (let tries = 0; tries < MAX_SILENT_TRIES; tries++) {
    try {
      for await (const event of stream("WatchJob", { name, afterSequence })) {
        tries = 0;
        if (event.heartbeat) continue;
        afterSequence = event.sequence;
        yield event;
        if (event.finished) return;
      }
    } catch (error) {
      if (error instanceof Refused && !CUT.includes(error.code)) throw error;
      field("status").textContent = `cut off, going on after event ${afterSequence}`;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  throw new Error("the service cannot be reached");
}

async function make() {
  const images = [{ id: "clip", image: { uri: field("picture").value }, duration: "2s" }];
  const requestId = crypto.randomUUID(); // a repeated call makes no second job
  const job = await call("CreateJob", { requestId, job: { imagesToVideos: { images } } });
  for await (const event of follow(job.name)) {
    const percent = event.progress?.percent ?? 0;
    field("bar").value = percent;
    field("status").textContent = `event ${event.sequence}: ${percent.toFixed(0)} %`;
    if (event.finished) return event.finished;
  }
}

async function show({ items }) {
  for (const { id, output, error } of items) {
    if (!output) {
      field("problem").textContent = `${id}: ${error.message}`;
      continue;
    }
    const { uri } = await call("CreateFileLink", { name: output.file });
    const video = Object.assign(document.createElement("video"), { src: uri, controls: true });
    const link = Object.assign(document.createElement("a"), { href: uri, textContent: output.filename });
    link.download = output.filename;
    field("result").append(video, link);
  }
}

field("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  field("problem").textContent = "";
  field("result").replaceChildren();
  try {
    await show(await make());
  } catch (error) {
    const fields = error.fields?.length ? ` (${error.fields.join(", ")})` : "";
    field("problem").textContent = `${error.message}${fields}`;
  }
});
