import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseChallenges } from "./challenge.ts";
import { chooseManifest, type ManifestList, parseManifest, parsePlatform, platformRuns } from "./manifest.ts";
import { combineReference, familiarString, parseReference, withDefaultTag } from "./reference.ts";
import { DEFAULT_SETTINGS, endpointsOf, isInsecure, proxyFor } from "./settings.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;

test("references are normalised as Docker does", () => {
  const normal = (text: string): string => {
    const { domain, path, tag, digest } = parseReference(text);
    return `${domain}|${path}|${tag ?? ""}|${digest ?? ""}`;
  };
  expect(normal("busybox")).toBe("docker.io|library/busybox||");
  expect(normal("busybox:1.36")).toBe("docker.io|library/busybox|1.36|");
  expect(normal("grafana/grafana")).toBe("docker.io|grafana/grafana||");
  expect(normal("index.docker.io/busybox")).toBe("docker.io|library/busybox||");
  expect(normal("localhost/x")).toBe("localhost|x||");
  expect(normal("localhost:5000/x:y")).toBe("localhost:5000|x|y|");
  expect(normal("reg.example/a/b__c/d-e.f")).toBe("reg.example|a/b__c/d-e.f||");
  expect(normal(`reg.example:1/x:t@${DIGEST}`)).toBe(`reg.example:1|x|t|${DIGEST}`);
  expect(normal("[::1]:5000/x")).toBe("[::1]:5000|x||");
});

test("what Docker refuses is refused in its words", () => {
  for (const text of [
    "",
    ":x",
    "a:",
    "a//b",
    "-a",
    "a@sha256:12",
    "a b",
    "a:b:c",
    "host:port/x",
    "a/_b",
    "x".repeat(300),
  ]) {
    expect(() => parseReference(text)).toThrow(/invalid reference format|must not be more than 255/);
  }
  expect(() => parseReference("Foo")).toThrow(
    "invalid reference format: repository name (library/Foo) must be lowercase",
  );
  expect(() => parseReference("a".repeat(64))).toThrow("cannot specify 64-byte hexadecimal strings");
});

test("what is shown can be read again", () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  fc.assert(
    fc.property(
      fc.option(fc.constantFrom("quay.io", "localhost:5000", "127.0.0.1:1")),
      fc.array(component, { minLength: 1, maxLength: 4 }),
      fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)),
      (domain, path, tag) => {
        const text = `${domain === null ? "" : `${domain}/`}${path.join("/")}${tag === null ? "" : `:${tag}`}`;
        const reference = parseReference(text);
        expect(parseReference(familiarString(reference))).toEqual(reference);
      },
    ),
  );
});

test("a tag beside the name replaces the one in it", () => {
  expect(combineReference("busybox:1", "2")).toMatchObject({ path: "library/busybox", tag: "2" });
  expect(combineReference("busybox", DIGEST)).toMatchObject({ digest: DIGEST });
  expect(withDefaultTag(combineReference("busybox", ""))).toMatchObject({ tag: "latest" });
  expect(() => combineReference("busybox", "bad tag")).toThrow("invalid reference format");
});

test("authentication challenges", () => {
  const [bearer, basic] = parseChallenges(
    'Bearer realm="https://auth.example/token",service="reg \\"x\\"" , scope="repository:a:pull,push", Basic realm=simple',
  );
  expect(bearer?.scheme).toBe("bearer");
  expect(bearer?.parameters.get("service")).toBe('reg "x"');
  expect(bearer?.parameters.get("scope")).toBe("repository:a:pull,push");
  expect(basic?.parameters.get("realm")).toBe("simple");
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseChallenges(text))));
});

const descriptor = (digit: string) => ({
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  digest: `sha256:${digit.repeat(64)}`,
  size: 1,
});

test("platforms: the newest variant that runs", () => {
  const arm = (digit: string, variant?: string) => ({
    ...descriptor(digit),
    platform: { os: "linux", architecture: "arm", ...(variant ? { variant } : {}) },
  });
  const list: ManifestList = {
    kind: "list",
    mediaType: "",
    manifests: [arm("5", "v5"), arm("7", "v7"), arm("6", "v6")],
  };
  const own = { os: "linux", architecture: "amd64" };
  expect(chooseManifest(list, parsePlatform("linux/arm/v6", own)).digest).toContain("66");
  expect(chooseManifest(list, parsePlatform("arm", own)).digest).toContain("77");
  expect(() => chooseManifest(list, own)).toThrow("no matching manifest for linux/amd64");
  expect(
    platformRuns({ os: "linux", architecture: "arm64", variant: "v8" }, { os: "linux", architecture: "aarch64" }),
  ).toBe(true);
  expect(() => parsePlatform("a/b/c/d", own)).toThrow("invalid platform");
});

test("manifests: schema 1 and ambiguous ones are refused, hostile ones do not crash", () => {
  const parse = (value: unknown, type = "") =>
    parseManifest(new TextEncoder().encode(JSON.stringify(value)), type, "x:1");
  expect(() => parse({ schemaVersion: 1, fsLayers: [] })).toThrow("schema 1 is not supported");
  expect(() => parse({ schemaVersion: 2, layers: [], manifests: [] })).toThrow("either layers or manifests");
  expect(() =>
    parse({
      schemaVersion: 2,
      layers: [],
      config: { ...descriptor("1"), mediaType: "application/vnd.cncf.helm.config.v1+json" },
    }),
  ).toThrow("not a container image");
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseManifest(new TextEncoder().encode(text), "", "x");
      } catch (error) {
        expect((error as Error).name).toBe("RegistryError");
      }
    }),
  );
});

test("insecure registries, mirrors and proxies", () => {
  const settings = {
    ...DEFAULT_SETTINGS,
    insecureRegistries: ["reg.example:5000", "10.0.0.0/8"],
    mirrors: ["http://mirror:1/"],
    proxies: { http: "http://p:1", https: "http://p:2", no: ".internal,10.1.0.0/16" },
  };
  for (const domain of ["localhost:1", "127.9.9.9", "reg.example:5000", "10.2.3.4:5"])
    expect(isInsecure(domain, settings)).toBe(true);
  for (const domain of ["reg.example", "11.0.0.1", "localhost.example"])
    expect(isInsecure(domain, settings)).toBe(false);
  expect(endpointsOf("docker.io", settings).map(({ url }) => url)).toEqual([
    "http://mirror:1",
    "https://registry-1.docker.io",
  ]);
  expect(endpointsOf("quay.io", settings).map(({ url }) => url)).toEqual(["https://quay.io"]);
  expect(proxyFor(new URL("https://a.b"), settings)).toBe("http://p:2");
  for (const url of ["http://localhost", "http://x.internal", "http://10.1.2.3"])
    expect(proxyFor(new URL(url), settings)).toBeUndefined();
});
