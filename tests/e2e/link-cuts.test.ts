/** The control link is cut and restored while clients stream: none loses or repeats a byte, and none hangs. */
import { afterEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, uniqueName } from "./docker.ts";
import { kill, restart } from "./killing.ts";

const LIMIT = { timeout: 240_000 };
const CUT_TABLE = "vch-test-cut";
const containers: string[] = [];
const networks: string[] = [];

const newName = (purpose: string): string => {
  const name = uniqueName(purpose);
  containers.push(name);
  return name;
};

afterEach(async () => {
  await restoreNetwork();
  await removeContainers(...containers.splice(0));
  for (const network of networks.splice(0)) await run(["docker", "network", "rm", network]);
}, 60_000);

/** Resets every TCP connection that the matches name, and every new one, until it is restored. */
async function cut(incoming: string, outgoing: string): Promise<void> {
  const rules = `table ip ${CUT_TABLE} {
    chain in { type filter hook input priority -300; ${incoming} meta l4proto tcp reject with tcp reset; }
    chain out { type filter hook output priority -300; ${outgoing} meta l4proto tcp reject with tcp reset; }
  }`;
  expect(await run(["nft", "-f", "-"], { input: rules })).toMatchObject({ code: 0 });
}

/** Between the endpoint and a guest. */
const cutNetwork = (address: string): Promise<void> => cut(`ip saddr ${address}`, `ip daddr ${address}`);
/** Between the lab and the endpoint's concentrator. */
const cutSerialPorts = (): Promise<void> => cut("tcp dport 2378", "tcp sport 2378");

async function restoreNetwork(): Promise<void> {
  await run(["nft", "delete", "table", "ip", CUT_TABLE]);
}

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** Lines of 1000 digits that count up to `last`. */
const sequence = (last: number): string => {
  let text = "";
  for (let number = 1; number <= last; number++) text += `${String(number).padStart(1000, "0")}\n`;
  return text;
};
/** The program that writes them. */
const writeSequence = (last: number): string => `awk 'BEGIN { for (i = 1; i <= ${last}; i++) printf "%01000d\\n", i }'`;

/** A docker command whose output is hashed while it comes, and that tells how much has come. */
function stream(command: string[], input?: Uint8Array) {
  const child = Bun.spawn(["docker", ...command], {
    stdin: input === undefined ? "ignore" : new Blob([input as Uint8Array<ArrayBuffer>]),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 200_000,
    killSignal: "SIGKILL",
  });
  const hash = createHash("sha256");
  let length = 0;
  let over = false;
  const waiting: { length: number; reached: () => void }[] = [];
  const wake = (): void => {
    for (const { length: wanted, reached } of waiting) if (over || length >= wanted) reached();
  };
  const read = (async () => {
    for await (const chunk of child.stdout) {
      hash.update(chunk);
      length += chunk.length;
      wake();
    }
    over = true;
    wake();
    return {
      code: await child.exited,
      sha256: hash.digest("hex"),
      length,
      stderr: await new Response(child.stderr).text(),
    };
  })();
  return {
    result: read,
    /** Resolves when this many bytes have come, or all that will. */
    reaches: (wanted: number): Promise<void> =>
      new Promise((reached) => {
        waiting.push({ length: wanted, reached });
        wake();
      }),
  };
}

const addressOf = (name: string, network = "bridge"): Promise<string> =>
  inspect<string>(name, `(index .NetworkSettings.Networks ${JSON.stringify(network)}).IPAddress`);

test("net: cut and restored under load, output of run, input and output of exec arrive whole", LIMIT, async () => {
  const name = newName("cuts");
  const last = 4_000;
  const expected = sequence(last);
  await dockerOk("create", "--name", name, BUSYBOX, "sh", "-c", `${writeSequence(last)}; exec sleep 1000`);
  const output = stream(["start", "-a", name]);
  await output.reaches(10_000);
  const address = await addressOf(name);
  const input = Buffer.from(sequence(2_000));
  const echo = stream(["exec", "-i", name, "cat"], input);
  await echo.reaches(10_000);
  for (const share of [0.1, 0.4, 0.7]) {
    await echo.reaches(input.length * share);
    await cutNetwork(address);
    // As long as a short outage; what is waited for is that it was one.
    await Bun.sleep(1000);
    await restoreNetwork();
  }
  expect(await echo.result).toMatchObject({ code: 0, length: input.length, sha256: sha256(input), stderr: "" });
  await output.reaches(expected.length);
  // The end of the process is told over a link that is cut when it happens.
  await cutNetwork(address);
  const killed = dockerOk("kill", name);
  await Bun.sleep(1000);
  await restoreNetwork();
  await killed;
  expect(await output.result).toMatchObject({ code: 137, length: expected.length, sha256: sha256(expected) });
});

test("an attached client keeps its stream when the network of the control link is disconnected", LIMIT, async () => {
  const name = newName("moves");
  const first = uniqueName("first");
  const second = uniqueName("second");
  for (const network of [first, second]) {
    networks.push(network);
    await dockerOk("network", "create", network);
  }
  const last = 1_000;
  // The pauses stretch the stream over the changes of networks.
  const script = `i=1; while [ $i -le ${last} ]; do printf '%01000d\\n' $i; i=$((i+1)); [ $((i % 10)) = 0 ] && sleep 0.2; done; true`;
  await dockerOk("create", "--name", name, "--network", first, BUSYBOX, "sh", "-c", script);
  await dockerOk("network", "connect", second, name);
  const expected = sequence(last);
  const output = stream(["start", "-a", name]);
  await output.reaches(20_000);
  await dockerOk("network", "disconnect", first, name);
  await output.reaches(200_000);
  await dockerOk("network", "disconnect", second, name);
  const result = await output.result;
  expect(result).toMatchObject({ code: 0, length: expected.length, sha256: sha256(expected), stderr: "" });
});

test(
  "serial: without a network, run, exec, cp and logs work, and lose nothing when lab and line are cut",
  LIMIT,
  async () => {
    const name = newName("serial");
    const last = 500;
    const expected = sequence(last);
    const script = `ls /sys/class/net; ${writeSequence(last)}; exec sleep 1000`;
    await dockerOk("create", "--name", name, "--network", "none", BUSYBOX, "sh", "-c", script);
    const output = stream(["start", "-a", name]);
    await output.reaches(10_000);
    const input = Buffer.from(sequence(150));
    const echo = stream(["exec", "-i", name, "cat"], input);
    await echo.reaches(10_000);
    await cutSerialPorts();
    await Bun.sleep(1000);
    await restoreNetwork();
    await echo.reaches(input.length * 0.4);
    await kill("lab");
    await restart();
    expect(await echo.result).toMatchObject({ code: 0, length: input.length, sha256: sha256(input), stderr: "" });
    const everything = `lo\n${expected}`;
    await output.reaches(everything.length);
    const file = Buffer.from(sequence(60));
    const made = await docker(["exec", "-i", name, "sh", "-c", "cat > /file"], { input: file });
    expect(made).toMatchObject({ code: 0 });
    const copied = await run(["sh", "-c", `docker cp ${name}:/file - | tar -xO`]);
    expect(sha256(copied.stdout)).toBe(sha256(file));
    expect(sha256((await docker(["logs", name])).stdout)).toBe(sha256(everything));
    await dockerOk("kill", name);
    expect(await output.result).toMatchObject({ code: 137, length: everything.length, sha256: sha256(everything) });
  },
);
