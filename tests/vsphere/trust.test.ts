/** To whom the driver speaks: nothing of ours, least of all the password, goes to a server that is not the expected one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createServer } from "node:tls";
import { loadServerCertificate } from "../../src/lab/server/certificate.ts";
import { connectVSphere } from "../../src/vsphere/index.ts";
import { Transport } from "../../src/vsphere/transport.ts";
import { stateFolder } from "./servers.ts";

const ACCOUNT = { username: "root", password: "not for you" };
/** Long enough for a TLS handshake on a busy machine. */
const SILENCE_MILLISECONDS = 3000;
const OTHER_FINGERPRINT = "ab".repeat(32);

let folder: Awaited<ReturnType<typeof stateFolder>>;
let certificate: Awaited<ReturnType<typeof loadServerCertificate>>;

beforeAll(async () => {
  folder = await stateFolder();
  certificate = await loadServerCertificate(folder.path, ["127.0.0.1"]);
});
afterAll(() => folder.remove());

/** A TLS server that answers nothing and keeps what it hears. */
async function listener() {
  let heard = 0;
  let connections = 0;
  const { certificatePem: cert, keyPem: key } = certificate;
  const server = createServer({ cert, key }, (socket) => {
    socket.on("data", (data) => {
      heard += data.length;
    });
    socket.on("error", () => socket.destroy());
  });
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    url: `https://127.0.0.1:${typeof address === "object" ? address?.port : ""}/sdk`,
    heard: () => heard,
    connections: () => connections,
    close: () => server.close(),
  };
}

test("neither request nor password goes to a server with another certificate", async () => {
  const impostor = await listener();
  const { url } = impostor;
  try {
    await expect(connectVSphere({ ...ACCOUNT, url, fingerprint: OTHER_FINGERPRINT })).rejects.toThrow(
      "not the expected",
    );
    await expect(connectVSphere({ ...ACCOUNT, url })).rejects.toThrow("is not trusted");
    expect(impostor.connections()).toBeGreaterThanOrEqual(2);
    await expect(connectVSphere({ ...ACCOUNT, url, fingerprint: "aa:bb" })).rejects.toThrow("no SHA-256 fingerprint");
    await Bun.sleep(50);
    expect(impostor.heard()).toBe(0);
  } finally {
    impostor.close();
  }
});

test("the listener would hear: with its own fingerprint the request arrives", async () => {
  const server = await listener();
  const transport = new Transport({ url: server.url, fingerprint: certificate.fingerprint }, SILENCE_MILLISECONDS);
  try {
    await expect(transport.post("/sdk", {}, "a question")).rejects.toThrow("nothing heard for 3 s");
    expect(server.heard()).toBeGreaterThan(0);
  } finally {
    transport.close();
    server.close();
  }
});

test("a certificate authority is trusted for its own servers only", async () => {
  const other = await stateFolder();
  const { certificatePem } = await loadServerCertificate(other.path, ["127.0.0.1"]);
  const server = await listener();
  const right = new Transport(
    { url: server.url, certificateAuthority: certificate.certificatePem },
    SILENCE_MILLISECONDS,
  );
  try {
    await expect(connectVSphere({ ...ACCOUNT, url: server.url, certificateAuthority: certificatePem })).rejects.toThrow(
      "is not trusted",
    );
    expect(server.heard()).toBe(0);
    // The right one: a server that falls silent is given up.
    await expect(right.post("/sdk", {}, "")).rejects.toThrow("nothing heard for 3 s");
    expect(server.heard()).toBeGreaterThan(0);
  } finally {
    right.close();
    server.close();
    await other.remove();
  }
});

test("plain HTTP is refused", async () => {
  await expect(connectVSphere({ ...ACCOUNT, url: "http://127.0.0.1:1/sdk" })).rejects.toThrow("must be an https://");
});
