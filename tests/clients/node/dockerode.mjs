// A session of dockerode, as a job runner would have it. Arguments: image, name prefix.
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import Docker from "dockerode";

const [image, prefix] = process.argv.slice(2);
const docker = new Docker();
assert.equal((await docker.ping()).toString(), "OK");
const [repository, tag] = [image.slice(0, image.lastIndexOf(":")), image.slice(image.lastIndexOf(":") + 1)];
const progress = await new Promise((resolve, reject) =>
  docker.pull(`${repository}:${tag}`, (error, stream) =>
    error
      ? reject(error)
      : docker.modem.followProgress(stream, (failure, lines) => (failure ? reject(failure) : resolve(lines))),
  ),
);
assert.match(progress.at(-1).status, /^Status: /);
assert.equal((await docker.getImage(image).inspect()).Os, "linux");

const events = await docker.getEvents({ filters: { label: [`suite=${prefix}`] } });
const seen = [];
events.on("data", (bytes) => {
  for (const line of bytes.toString().split("\n")) if (line.trim() !== "") seen.push(JSON.parse(line).Action);
});

const container = await docker.createContainer({
  Image: image,
  name: `${prefix}-job`,
  Cmd: ["sh", "-c", "cat; echo done >&2; exit 5"],
  Labels: { suite: prefix },
  OpenStdin: true,
  StdinOnce: true,
  AttachStdin: true,
  AttachStdout: true,
  AttachStderr: true,
});
try {
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  container.modem.demuxStream(stream, stdout, stderr);
  stream.on("end", () => {
    stdout.end();
    stderr.end();
  });
  const read = Promise.all([text(stdout), text(stderr)]);
  await container.start();

  const exec = await container.exec({ Cmd: ["sh", "-c", "echo $0 from exec"], AttachStdout: true, AttachStderr: true });
  const execStream = await exec.start({});
  const execOutput = new PassThrough();
  container.modem.demuxStream(execStream, execOutput, execOutput);
  execStream.on("end", () => execOutput.end());
  assert.equal(await text(execOutput), "sh from exec\n");
  assert.equal((await exec.inspect()).ExitCode, 0);
  assert.equal((await container.inspect()).State.Running, true);
  assert.equal((await docker.listContainers({ filters: { label: [`suite=${prefix}`] } })).length, 1);

  const exited = container.wait();
  stream.write("through the job\n");
  stream.end();
  assert.equal((await exited).StatusCode, 5);
  assert.deepEqual(await read, ["through the job\n", "done\n"]);
  const logs = await container.logs({ stdout: true, stderr: false, follow: false });
  assert.match(logs.toString(), /through the job/);
  // This client sends its options as a body too, which Docker refuses before it looks at them.
  await assert.rejects(container.start({ checkpoint: "x" }), /non-empty request body|not supported/);
  await assert.rejects(container.kill({ signal: "NOPE" }), /invalid signal/i);
} finally {
  await container.remove({ force: true });
}
await assert.rejects(
  container.inspect(),
  (error) => error.statusCode === 404 && /no such container/i.test(error.message),
);
for (const action of ["create", "attach", "start", "die", "destroy"])
  assert.ok(seen.includes(action), `${action} in ${seen}`);
events.destroy();
const usage = await docker.df();
assert.ok(Array.isArray(usage.Images) || usage.ImageUsage !== undefined);
console.log("session complete");
