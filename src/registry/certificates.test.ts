import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_SETTINGS } from "./settings.ts";
import { send } from "./transport.ts";

function openssl(directory: string, ...parameters: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["openssl", ...parameters], { cwd: directory, stderr: "pipe" });
  if (exitCode !== 0) throw new Error(stderr.toString());
}

test("a registry's own authority and client certificate count for it alone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vch-certs-"));
  openssl(
    directory,
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-subj",
    "/CN=test ca",
    "-days",
    "2",
  );
  for (const name of ["server", "client"]) {
    openssl(
      directory,
      "req",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
      "-subj",
      `/CN=${name}`,
      "-addext",
      "subjectAltName=DNS:localhost",
    );
    openssl(
      directory,
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-out",
      `${name}.pem`,
      "-days",
      "2",
      "-copy_extensions",
      "copy",
    );
  }
  const read = (name: string): string => readFileSync(join(directory, name), "utf8");
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: {
      cert: read("server.pem"),
      key: read("server.key"),
      ca: read("ca.pem"),
      requestCert: true,
      rejectUnauthorized: true,
    },
    fetch: () => new Response("hello"),
  });
  try {
    const host = `localhost:${server.port}`;
    const certificateDirectory = join(directory, "certs.d");
    const get = () =>
      send(`https://${host}/v2/`, { insecure: false }, { ...DEFAULT_SETTINGS, certificateDirectory }, "test");
    await expect(get()).rejects.toThrow("certificate signed by unknown authority");
    mkdirSync(join(certificateDirectory, host), { recursive: true });
    await Bun.write(join(certificateDirectory, host, "ca.crt"), read("ca.pem"));
    await Bun.write(join(certificateDirectory, host, "client.cert"), read("client.pem"));
    await expect(get()).rejects.toThrow("missing key client.key");
    await Bun.write(join(certificateDirectory, host, "client.key"), read("client.key"));
    expect(await (await get()).text()).toBe("hello");
  } finally {
    await server.stop(true);
    rmSync(directory, { recursive: true });
  }
});
