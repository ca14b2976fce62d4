import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import {
  CertificateAuthority,
  createAuthority,
  fingerprint,
  inspect,
  issueClient,
  issueServer,
  makeSelfSigned,
} from "./index.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-ca-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

async function openssl(...command: string[]): Promise<string> {
  const run = Bun.spawn(["openssl", ...command], { cwd: directory, stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([run.stdout.text(), run.stderr.text(), run.exited]);
  if (code !== 0) throw new Error(`openssl ${command.join(" ")}: ${out}${err}`);
  return out;
}

describe("certificate authority", () => {
  test("openssl accepts server and client certificates for their purpose, and only for it", async () => {
    await createAuthority(directory);
    await issueServer(directory, ["vch.example.org", "192.0.2.7", "2001:db8::1"]);
    await issueClient(directory, { commonName: "ada", organisation: "team one" });
    const verify = (...more: string[]) => openssl("verify", "-x509_strict", "-CAfile", "ca.pem", ...more);
    for (const name of ["vch.example.org", "localhost", hostname()]) {
      expect(await verify("-purpose", "sslserver", "-verify_hostname", name, "server-cert.pem")).toContain("OK");
    }
    for (const address of ["192.0.2.7", "127.0.0.1", "::1", "2001:db8::1"]) {
      expect(await verify("-purpose", "sslserver", "-verify_ip", address, "server-cert.pem")).toContain("OK");
    }
    expect(await verify("-purpose", "sslclient", "cert.pem")).toContain("OK");
    await expect(verify("-purpose", "sslclient", "server-cert.pem")).rejects.toThrow("purpose");
    await expect(verify("-purpose", "sslserver", "cert.pem")).rejects.toThrow("purpose");
    await expect(verify("-verify_hostname", "other.example.org", "server-cert.pem")).rejects.toThrow("mismatch");
    expect(await openssl("x509", "-in", "cert.pem", "-noout", "-subject", "-nameopt", "RFC2253")).toContain("CN=ada");
    const shown = await openssl("x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256");
    expect(shown.trim()).toEndWith(fingerprint((await CertificateAuthority.load(directory)).certificatePem));
  });

  test("keys are for their owner only and no temporary file stays", async () => {
    await createAuthority(directory);
    await issueServer(directory, []);
    await issueClient(directory, { commonName: "ada" });
    const files = (await readdir(directory)).sort();
    expect(files).toEqual(["ca-key.pem", "ca.pem", "cert.pem", "key.pem", "server-cert.pem", "server-key.pem"]);
    for (const file of files) {
      const { mode } = await stat(join(directory, file));
      expect(mode & 0o777).toBe(file.endsWith("key.pem") ? 0o600 : 0o644);
    }
  });

  test("a client directory has the layout of DOCKER_CERT_PATH without the authority's key", async () => {
    await createAuthority(directory);
    const into = join(directory, "ada");
    await issueClient(directory, { commonName: "ada", into });
    expect((await readdir(into)).sort()).toEqual(["ca.pem", "cert.pem", "key.pem"]);
  });

  test("certificates are kept while good, and renewed for new names, a foreign authority or a key that does not fit", async () => {
    const authority = await createAuthority(directory);
    const first = await authority.issueServer(["a.example.org"]);
    expect(await authority.issueServer(["A.example.org"])).toEqual(first);
    const second = await authority.issueServer(["a.example.org", "b.example.org"]);
    expect(second).not.toEqual(first);
    // What a crash between key and certificate leaves.
    await writeFile(join(directory, "server-key.pem"), first.keyPem);
    const third = await authority.issueServer(["a.example.org", "b.example.org"]);
    expect(third.keyPem).not.toBe(first.keyPem);

    await rm(join(directory, "ca.pem"));
    const other = await createAuthority(directory);
    expect(await other.issueServer(["a.example.org"])).not.toEqual(third);
  });

  test("a certificate near its end is renewed", async () => {
    const authority = await createAuthority(directory);
    const first = await authority.issueClient({ commonName: "ada" });
    expect(await authority.issueClient({ commonName: "ada" })).toEqual(first);
    const real = Date.now;
    try {
      Date.now = () => real() + 800 * 24 * 3600 * 1000;
      expect(await authority.issueClient({ commonName: "ada" })).not.toEqual(first);
    } finally {
      Date.now = real;
    }
  });

  test("refuses a second authority, a wrong key and impossible names", async () => {
    const authority = await createAuthority(directory);
    await expect(createAuthority(directory)).rejects.toThrow("already holds");
    await expect(authority.issueServer(["not a name"])).rejects.toThrow("neither a DNS name nor an IP address");
    await expect(authority.issueClient({ commonName: "" })).rejects.toThrow("printable");
    await chmod(join(directory, "ca-key.pem"), 0o600);
    await writeFile(join(directory, "ca-key.pem"), (await makeSelfSigned(["x"])).keyPem);
    await expect(CertificateAuthority.load(directory)).rejects.toThrow("not the key");
  });

  test("names with special characters stay one attribute", async () => {
    const authority = await createAuthority(directory);
    await authority.issueClient({ commonName: "a,O=admin+CN=root", organisation: 'b"\\#' });
    const text = await openssl("x509", "-in", "cert.pem", "-noout", "-subject", "-nameopt", "multiline,-esc_msb");
    expect(text.match(/commonName/g)).toHaveLength(1);
    expect(text.match(/organizationName/g)).toHaveLength(1);
  });

  test("inspect tells names, times and fingerprints", async () => {
    await createAuthority(directory, { commonName: "my authority" });
    await issueServer(directory, ["vch.example.org"]);
    const shown = await inspect(directory);
    expect(shown.authority.subject).toContain("my authority");
    expect(shown.server?.names).toContain("vch.example.org");
    expect(shown.server?.issuer).toBe(shown.authority.subject);
    expect(shown.client).toBeUndefined();
    expect(shown.server?.notAfter.getTime()).toBeGreaterThan(Date.now());
  });
});
