import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { ServiceTickets, TICKET_COOKIE_NAME } from "../session/service-tickets.ts";
import { COOKIE_NAME, Sessions } from "../session/sessions.ts";
import { ROLES, Users } from "../session/users.ts";
import { makeStorageFixture, type StorageFixture } from "../storage/storage-fixture.ts";
import { loadServerCertificate } from "./certificate.ts";
import { Dispatcher } from "./dispatcher.ts";
import { FolderService } from "./folder-service.ts";
import { LabServer } from "./lab-server.ts";

let fixture: StorageFixture;
let server: LabServer;
let sessions: Sessions;
let tickets: ServiceTickets;

beforeEach(async () => {
  fixture = await makeStorageFixture();
  const users = new Users();
  users.add("root", "secret", ROLES.administrator);
  users.add("guest", "secret", ROLES.readOnly);
  sessions = new Sessions();
  tickets = new ServiceTickets();
  const state = await mkdir(at("state"), { recursive: true }).then(() => at("state"));
  server = await LabServer.listen(
    {
      certificate: await loadServerCertificate(state, ["127.0.0.1"]),
      dispatcher: new Dispatcher(fixture.context.registry, "8.0.2.0", () => undefined),
      folder: new FolderService(fixture.context),
      sessions,
      users,
      tickets,
      log: () => undefined,
    },
    { host: "127.0.0.1", port: 0 },
  );
});
afterEach(async () => {
  await server.close();
  sessions.close();
  await fixture.dispose();
});

const at = (path: string): string => join(fixture.directory, path);
const target = (path: string): string => `/folder/${path}?dcPath=ha-datacenter&dsName=ds`;

/** curl's answer: status, headers and body. */
async function curl(path: string, ...options: string[]): Promise<{ status: number; head: string; body: string }> {
  const url = `https://127.0.0.1:${server.port}${path}`;
  const headers = at("state/headers");
  const child = Bun.spawn(["curl", "-sk", "-D", headers, "--path-as-is", ...options, url]);
  const body = await new Response(child.stdout).text();
  await child.exited;
  const head = await readFile(headers, "utf8");
  const statuses = [...head.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
  return { status: statuses.at(-1) ?? 0, head, body };
}
const ROOT = ["-u", "root:secret"];

test("uploads, downloads and deletes", async () => {
  const data = at("source");
  await writeFile(data, Buffer.alloc(3_000_000, "vsphere "));
  expect((await curl(target("a%20b.bin"), ...ROOT, "-T", data)).status).toBe(201);
  expect((await curl(target("a%20b.bin"), ...ROOT, "-T", data, "-H", "Transfer-Encoding: chunked")).status).toBe(200);
  expect(await readFile(at("a b.bin"))).toEqual(await readFile(data));
  const got = await curl(target("a%20b.bin"), ...ROOT);
  expect(got.body).toBe(await readFile(data, "utf8"));
  expect((await curl(target("a%20b.bin"), ...ROOT, "-X", "DELETE")).status).toBe(204);
  expect((await curl(target("a%20b.bin"), ...ROOT)).status).toBe(404);
  expect(await readdir(at(".lab-work"))).toEqual([]);
});

test("gives ranges, heads and unchanged files", async () => {
  await writeFile(at("f"), "0123456789");
  const part = await curl(target("f"), ...ROOT, "-r", "2-4");
  expect([part.status, part.body]).toEqual([206, "234"]);
  expect(part.head).toMatch(/content-range: bytes 2-4\/10/i);
  expect((await curl(target("f"), ...ROOT, "-r", "7-")).body).toBe("789");
  expect((await curl(target("f"), ...ROOT, "-r", "-2")).body).toBe("89");
  expect((await curl(target("f"), ...ROOT, "-r", "10-")).status).toBe(416);
  const head = await curl(target("f"), ...ROOT, "-I");
  expect(head.head).toMatch(/content-length: 10\r/i);
  const etag = /etag: (\S+)/i.exec(head.head)?.[1] ?? "";
  expect((await curl(target("f"), ...ROOT, "-H", `If-None-Match: ${etag}`)).status).toBe(304);
});

test("refuses without a login and without the privilege", async () => {
  await writeFile(at("f"), "x");
  expect((await curl(target("f"))).status).toBe(401);
  expect((await curl(target("f"), "-u", "root:wrong")).status).toBe(401);
  expect((await curl(target("f"), "-u", "guest:secret")).status).toBe(403);
  expect((await curl(target("f"), "-u", "guest:secret", "-X", "DELETE")).status).toBe(403);
  const session = sessions.start({ name: "root", roleId: ROLES.administrator }, { address: "", userAgent: "" }, "en");
  expect((await curl(target("f"), "-b", `${COOKIE_NAME}="${session.cookie}"`)).body).toBe("x");
});

test("a service ticket is good for one request", async () => {
  await writeFile(at("f"), "x");
  const id = tickets.acquire({ name: "root", roleId: ROLES.administrator }, "httpGet", `https://host${target("f")}`);
  expect((await curl(target("f"), "-b", `${TICKET_COOKIE_NAME}=${id}`)).status).toBe(200);
  expect((await curl(target("f"), "-b", `${TICKET_COOKIE_NAME}=${id}`)).status).toBe(401);
});

test("never leaves the datastore", async () => {
  await symlink("/etc", at("link"));
  for (const path of ["..%2f..%2fetc/passwd", "link/hostname", "a%00b", "%2e%2e%2fx", ".lab-work/x", "%zz"]) {
    expect([path, (await curl(target(path), ...ROOT)).status]).toEqual([path, 400]);
  }
  for (const path of ["../../etc/passwd", "%2e%2e/etc/passwd"]) {
    expect((await curl(target(path), ...ROOT)).status).toBe(404);
  }
});

test("shows directories and datastores as HTML, escaped", async () => {
  await mkdir(at("<b>"));
  const index = await curl(target(""), ...ROOT);
  expect(index.body).toContain("&lt;b&gt;/");
  expect(index.body).not.toContain("<b>");
  expect((await curl("/folder?dcPath=ha-datacenter", ...ROOT)).body).toContain("dsName=ds");
  expect((await curl("/folder?dcPath=other", ...ROOT)).status).toBe(404);
});

test("refuses directories, missing parents and files in use", async () => {
  await mkdir(at("d"));
  await writeFile(at("f"), "old");
  expect((await curl(target("d"), ...ROOT, "-T", at("f"))).status).toBe(409);
  expect((await curl(target("none/f"), ...ROOT, "-T", at("f"))).status).toBe(404);
  fixture.context.locks.acquire("vm-1", { write: [at("f")], read: [] }, (file) => file);
  for (const options of [["-T", at("f")], ["-X", "DELETE"], []]) {
    expect((await curl(target("f"), ...ROOT, ...options)).status).toBe(423);
  }
  expect(await readFile(at("f"), "utf8")).toBe("old");
});

test.each([
  ["Transfer-Encoding: chunked", "5\r\nhello\r\n"],
  ["Content-Length: 100", "hello"],
])("an upload that breaks off leaves nothing (%s)", async (header, body) => {
  const socket = connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false });
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  const login = Buffer.from("root:secret").toString("base64");
  socket.write(
    `PUT ${target("broken")} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${login}\r\n${header}\r\n\r\n${body}`,
  );
  const work = at(".lab-work");
  const uploads = async () => (existsSync(work) ? (await readdir(work)).length : 0);
  while ((await uploads()) === 0) await Bun.sleep(5);
  await Bun.sleep(20);
  socket.destroy();
  while ((await uploads()) > 0) await Bun.sleep(5);
  expect(existsSync(at("broken"))).toBe(false);
});
