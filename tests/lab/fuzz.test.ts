/** Hostile requests at every door of the lab: each gets a refusal, none takes it down or leads out of a datastore. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import { type Lab, startLab } from "../../src/lab/index.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";
import { SoapClient } from "../../src/lab/testing/soap-client.ts";

let directory: string;
let lab: Lab;
let client: SoapClient;
const complaints: string[] = [];
const SESSIONS = { type: "SessionManager", value: "ha-sessionmgr" } as const;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-fuzz-"));
  await Bun.write(join(directory, "secret.txt"), "outside");
  lab = await startLab({
    stateDirectory: join(directory, "state"),
    listen: { host: "127.0.0.1", port: 0 },
    personality: "HostAgent",
    username: "root",
    password: "secret",
    portGroups: ["VM Network"],
    hypervisor: new FakeHypervisor().connect,
    disks: createDiskStore,
    log: (line) => complaints.push(line),
  });
  client = new SoapClient(lab.url, lab.certificatePem);
  await client.call("Login", SESSIONS, { userName: "root", password: "secret" });
});

afterAll(async () => {
  await lab.close();
  await rm(directory, { recursive: true });
});

/** The lab still answers, and nothing in it went wrong that it did not expect. */
async function isWell(): Promise<void> {
  await client.call("CurrentTime", { type: "ServiceInstance", value: "ServiceInstance" }, {});
  expect(complaints.filter((line) => /TypeError|RangeError|ReferenceError|undefined is not/.test(line))).toEqual([]);
}

const envelope = (body: string): string =>
  `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
const retrieve = (inner: string): string =>
  envelope(
    `<RetrievePropertiesEx xmlns="urn:vim25"><_this type="PropertyCollector">ha-property-collector</_this>${inner}</RetrievePropertiesEx>`,
  );

test("documents that are no requests get a fault", async () => {
  const deep = "<a>".repeat(5000) + "</a>".repeat(5000);
  const bodies = [
    "",
    "<",
    "not xml at all",
    "\u0000\u0001",
    envelope(""),
    envelope("<NoSuchMethod/>"),
    envelope(deep),
    retrieve(`<specSet>${"<propSet><type>VirtualMachine</type></propSet>".repeat(20_000)}`),
    `<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>${envelope("<x>&b;</x>")}`,
    `<!DOCTYPE x SYSTEM "file:///etc/passwd">${envelope("<x/>")}`,
    envelope("<CurrentTime xmlns='urn:vim25'><_this type='ServiceInstance'>&unknown;</_this></CurrentTime>"),
    retrieve(`<options><maxObjects>${"9".repeat(100_000)}</maxObjects></options>`),
    envelope(`<Login xmlns="urn:vim25"><_this type="SessionManager">${"x".repeat(1_000_000)}</_this></Login>`),
  ];
  for (const body of bodies) {
    const { status, text } = await client.post(body);
    expect(status, body.slice(0, 80)).toBe(500);
    expect(text).toContain("Fault>");
    expect(text).not.toContain("root:x:");
  }
  await isWell();
});

test("a request longer than any is refused before it is read", async () => {
  const { status } = await client
    .http("POST", "/sdk", "x".repeat(17 * 1024 * 1024), { "Content-Type": "text/xml" })
    .catch(() => ({ status: 413 }));
  expect(status).toBe(413);
  await isWell();
});

test("mutations of good requests get an answer or a fault", async () => {
  const good = [
    retrieve(
      "<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet><objectSet><obj type='Folder'>ha-folder-vm</obj></objectSet></specSet><options/>",
    ),
    envelope(
      "<CreateVM_Task xmlns='urn:vim25'><_this type='Folder'>ha-folder-vm</_this><config><name>f</name><files><vmPathName>[datastore1]</vmPathName></files><memoryMB>64</memoryMB><deviceChange><operation>add</operation><device xsi:type='VirtualVmxnet3'><key>-1</key></device></deviceChange></config><pool type='ResourcePool'>ha-root-pool</pool></CreateVM_Task>",
    ),
    envelope(
      "<FindByInventoryPath xmlns='urn:vim25'><_this type='SearchIndex'>ha-searchindex</_this><inventoryPath>a/b</inventoryPath></FindByInventoryPath>",
    ),
    envelope(
      "<MakeDirectory xmlns='urn:vim25'><_this type='FileManager'>ha-nfc-file-manager</_this><name>[datastore1] d</name></MakeDirectory>",
    ),
  ];
  const tokens = [
    "<",
    ">",
    "/",
    "&",
    "&#0;",
    "]]>",
    "<![CDATA[",
    "../",
    "-1",
    "99999999999999999999",
    "xsi:type='VirtualDisk'",
    "\u0007",
    "<name/>",
    "''",
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...good),
      fc.array(fc.tuple(fc.nat(), fc.constantFrom(...tokens), fc.nat(12)), { minLength: 1, maxLength: 4 }),
      async (request, edits) => {
        let text = request;
        for (const [at, token, removed] of edits) {
          const place = at % text.length;
          text = text.slice(0, place) + token + text.slice(place + removed);
        }
        const { status, text: answer } = await client.post(text);
        expect([200, 500]).toContain(status);
        expect(answer).toContain("Envelope");
      },
    ),
    { numRuns: 400 },
  );
  await isWell();
}, 180_000);

test("sessions that are none", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ maxLength: 80 }), async (value) => {
      const stranger = new SoapClient(lab.url, lab.certificatePem);
      stranger.cookie = `vmware_soap_session=${value.replace(/[^\x20-\x7e]/g, "")}`;
      const { status, text } = await stranger.post(
        retrieve(
          "<specSet><propSet><type>Folder</type><pathSet>name</pathSet></propSet><objectSet><obj type='Folder'>ha-folder-vm</obj></objectSet></specSet><options/>",
        ),
      );
      expect(status).toBe(500);
      expect(text).toContain("Fault>");
    }),
    { numRuns: 50 },
  );
  await isWell();
});

const escapes = [
  "..",
  "%2e%2e",
  "%2e%2e%2f",
  "..%2f..",
  "%252e%252e",
  "....//",
  "/",
  "%00",
  "\\..\\",
  ".lab-work",
  "%c0%ae",
  "~",
  "state",
  "secret.txt",
];

test("paths of /folder and /nfc that lead elsewhere", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("/folder", "/nfc"),
      fc.array(fc.constantFrom(...escapes, "datastore1", "a%20b"), { minLength: 1, maxLength: 6 }),
      fc.constantFrom("?dcPath=ha-datacenter&dsName=datastore1", "?dsName=..", "", "?dsName=datastore1&dcPath=..%2f.."),
      fc.constantFrom("GET", "PUT", "DELETE", "POST", "HEAD", "PROPFIND"),
      async (door, segments, query, method) => {
        const { status, text } = await client.http(
          method,
          `${door}/${segments.join("/")}${query}`,
          method === "PUT" ? "x" : undefined,
        );
        expect(status).toBeGreaterThanOrEqual(200);
        expect(status).toBeLessThan(500);
        expect(text).not.toContain("outside");
      },
    ),
    { numRuns: 300 },
  );
  expect(await Bun.file(join(directory, "secret.txt")).text()).toBe("outside");
  await isWell();
}, 180_000);

test("datastore paths in SOAP that lead elsewhere", async () => {
  const files = { type: "FileManager", value: "ha-nfc-file-manager" } as const;
  for (const name of [
    "[datastore1] ../secret.txt",
    "[datastore1] a/../../secret.txt",
    "[..] x",
    "/etc/passwd",
    "[datastore1]/../x",
    "[datastore1] .lab-work/x",
    `[datastore1] ${"a/".repeat(2000)}`,
  ]) {
    await expect(
      client.call("DeleteDatastoreFile_Task", files, { name }).then((task) => client.task(task)),
    ).rejects.toThrow();
  }
  expect(await Bun.file(join(directory, "secret.txt")).text()).toBe("outside");
  await isWell();
});
