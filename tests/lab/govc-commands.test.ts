/**
 * Every command of govc, as govc-commands.txt says: it works, or it is refused with the reason. govc dereferences whatever a server leaves
 * out, so that an answer that lacks something shows as a panic.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { checkDisks } from "./check-disks.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";
import script from "./govc-commands.txt" with { type: "text" };

/** Commands that talk to services beside the SOAP API, which the lab does not have. */
const OTHER_SERVICES =
  /^(tags|library|sso|storage\.policy|namespace|vcsa|vlcm|kms|volume|vsan|cluster\.(draft|module|vlcm)|vm\.dataset)\./;

interface Line {
  words: string[];
  /** What the refusal contains; undefined: it works. */
  refusal: string | undefined;
  input: string | undefined;
  only: string | undefined;
}

function parse(line: string): Line {
  const [, only, refused, rest = ""] = /^(?:(VC|ESX) )?(! )?(.*)$/.exec(line) ?? [];
  const [command = "", refusal = ""] = rest.split(/ =>(?: |$)/);
  const [words = "", input] = command.split(" < ");
  return {
    only,
    refusal: refused === undefined ? undefined : refusal,
    input,
    words: (words.match(/(?:\\ |\S)+/g) ?? []).map((word) => word.replaceAll("\\ ", " ")),
  };
}

const lines = script
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map(parse);

beforeAll(buildGovc, BUILD_MILLISECONDS);

describe.each([
  ["HostAgent", "ESX"],
  ["VirtualCenter", "VC"],
] as const)("%s", (personality, short) => {
  let directory: string;
  let lab: FakeLabProcess;
  let govc: Govc;
  const center = personality === "VirtualCenter";
  const places: Record<string, string> = {
    $DC: center ? "/Datacenter" : "/ha-datacenter",
    $CR: center ? "/Datacenter/host/Cluster" : "/ha-datacenter/host/localhost.localdomain",
    $HOST: hostname(),
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-govc-"));
    lab = await serveFakeLab(join(directory, "state"), personality);
    govc = govcFor(lab.url, directory);
    await makeFiles(directory);
  });
  afterAll(async () => {
    await lab.stop();
    await checkDisks(join(directory, "state"));
    await rm(directory, { recursive: true });
  });

  for (const line of lines.filter(({ only }) => only === undefined || only === short)) {
    const words = line.words.map((word) => word.replace(/\$[A-Z]+/, (name) => places[name] ?? name));
    test(`${line.refusal === undefined ? "" : "refuses "}${line.words.join(" ")}`, async () => {
      if (words.join(" ") === "import.ova -name imp2 vm2.ova") await packOva(directory);
      if (line.refusal === undefined) {
        if (line.input === undefined) await govc(...words);
        else await govc.input(Bun.file(join(directory, line.input)), ...words);
        return;
      }
      const message = await govc.refused(...words);
      expect(message).not.toContain("panic:");
      expect(message).toContain(line.refusal);
    });
  }
});

test("no command of govc is left out", async () => {
  const help = await govcFor("https://127.0.0.1:1/sdk", tmpdir())("-h");
  const commands = [...help.matchAll(/^ {2}([a-z][\w.]*)$/gm)].map(([, name = ""]) => name);
  expect(commands.length).toBeGreaterThan(380);
  const named = new Set(lines.map(({ words }) => words[0]));
  expect(commands.filter((name) => !named.has(name) && !OTHER_SERVICES.test(name))).toEqual([]);
});

async function makeFiles(directory: string): Promise<void> {
  await Bun.write(join(directory, "file.txt"), "hello\n");
  await Bun.write(join(directory, "file.iso"), new Uint8Array(4096));
  const extension = {
    description: { label: "vch", summary: "vch" },
    key: "com.example.vch",
    version: "1",
    lastHeartbeatTime: "2026-01-01T00:00:00Z",
  };
  await Bun.write(join(directory, "extension.json"), JSON.stringify(extension));
  await Bun.write(join(directory, "disk.raw"), new Uint8Array(1024 * 1024));
  await Bun.$`qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw disk.vmdk`.cwd(directory).quiet();
}

/** What `export.ovf` wrote, as an OVA. */
async function packOva(directory: string): Promise<void> {
  await Bun.$`tar -cf ../../vm2.ova vm2.ovf vm2-disk-0.vmdk`.cwd(join(directory, "exp/vm2")).quiet();
}
